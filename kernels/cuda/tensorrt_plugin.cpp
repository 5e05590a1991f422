// TensorRT plug-in (IPluginV3, 10.x and 11.x) of the operator percept.ScatterQuantize: features (P, C) float, cells (P,) int32,
// mean (C,), inverse_std (C,) float -> canvas (1, C, height, width) int8. Fields height, width, zero_point (int32), scale (float32).
// Load the library with IPluginRegistry::loadLibrary (an artefact's `plugins`).
#include "scatter_quantize.h"

#include <NvInferRuntime.h>

#include <cstring>
#include <new>

namespace {

using namespace nvinfer1;

constexpr char kName[] = "ScatterQuantize", kVersion[] = "1", kNamespace[] = "";

struct Parameters {
  int32_t height = 0, width = 0, zero_point = 0;
  float scale = 1.f;
};

class ScatterQuantize final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
 public:
  explicit ScatterQuantize(const Parameters &parameters) : parameters_(parameters) {}

  IPluginCapability *getCapabilityInterface(PluginCapabilityType type) noexcept override {
    if (type == PluginCapabilityType::kBUILD) return static_cast<IPluginV3OneBuild *>(this);
    if (type == PluginCapabilityType::kRUNTIME) return static_cast<IPluginV3OneRuntime *>(this);
    return static_cast<IPluginV3OneCore *>(this);
  }
  IPluginV3 *clone() noexcept override { return new (std::nothrow) ScatterQuantize(parameters_); }

  const char *getPluginName() const noexcept override { return kName; }
  const char *getPluginVersion() const noexcept override { return kVersion; }
  const char *getPluginNamespace() const noexcept override { return kNamespace; }

  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t configurePlugin(const DynamicPluginTensorDesc *, int32_t, const DynamicPluginTensorDesc *, int32_t) noexcept override {
    return 0;
  }
  int32_t getOutputDataTypes(DataType *types, int32_t, const DataType *, int32_t) const noexcept override {
    types[0] = DataType::kINT8;
    return 0;
  }
  int32_t getOutputShapes(const DimsExprs *inputs, int32_t, const DimsExprs *, int32_t, DimsExprs *outputs, int32_t,
                          IExprBuilder &builder) noexcept override {
    outputs[0].nbDims = 4;
    outputs[0].d[0] = builder.constant(1);
    outputs[0].d[1] = inputs[0].d[1];
    outputs[0].d[2] = builder.constant(parameters_.height);
    outputs[0].d[3] = builder.constant(parameters_.width);
    return 0;
  }
  bool supportsFormatCombination(int32_t at, const DynamicPluginTensorDesc *tensors, int32_t, int32_t) noexcept override {
    constexpr DataType kinds[5] = {DataType::kFLOAT, DataType::kINT32, DataType::kFLOAT, DataType::kFLOAT, DataType::kINT8};
    return at < 5 && tensors[at].desc.format == TensorFormat::kLINEAR && tensors[at].desc.type == kinds[at];
  }
  size_t getWorkspaceSize(const DynamicPluginTensorDesc *, int32_t, const DynamicPluginTensorDesc *, int32_t) const noexcept override {
    return percept::scatter_workspace({0, 1, parameters_.height, parameters_.width});
  }

  int32_t onShapeChange(const PluginTensorDesc *inputs, int32_t count, const PluginTensorDesc *, int32_t) noexcept override {
    const bool fits = count == 4 && inputs[1].dims.d[0] == inputs[0].dims.d[0] && inputs[2].dims.d[0] == inputs[0].dims.d[1] &&
                      inputs[3].dims.d[0] == inputs[0].dims.d[1];
    return fits ? 0 : 1;
  }
  int32_t enqueue(const PluginTensorDesc *descriptions, const PluginTensorDesc *, const void *const *inputs, void *const *outputs,
                  void *workspace, cudaStream_t stream) noexcept override {
    const Dims &features = descriptions[0].dims;
    const percept::ScatterShape shape{static_cast<int32_t>(features.d[0]), static_cast<int32_t>(features.d[1]), parameters_.height,
                                      parameters_.width};
    return percept::scatter_quantize(shape, static_cast<const float *>(inputs[0]), static_cast<const int32_t *>(inputs[1]),
                                     static_cast<const float *>(inputs[2]), static_cast<const float *>(inputs[3]), parameters_.scale,
                                     parameters_.zero_point, static_cast<int32_t *>(workspace), static_cast<int8_t *>(outputs[0]),
                                     stream) == cudaSuccess
               ? 0
               : 1;
  }
  IPluginV3 *attachToContext(IPluginResourceContext *) noexcept override { return clone(); }
  const PluginFieldCollection *getFieldsToSerialize() noexcept override {
    fields_[0] = {"height", &parameters_.height, PluginFieldType::kINT32, 1};
    fields_[1] = {"width", &parameters_.width, PluginFieldType::kINT32, 1};
    fields_[2] = {"zero_point", &parameters_.zero_point, PluginFieldType::kINT32, 1};
    fields_[3] = {"scale", &parameters_.scale, PluginFieldType::kFLOAT32, 1};
    collection_ = {4, fields_};
    return &collection_;
  }

 private:
  Parameters parameters_;
  PluginField fields_[4];
  PluginFieldCollection collection_{};
};

bool read(const PluginFieldCollection *fields, Parameters *parameters) {
  for (int32_t i = 0; fields && i < fields->nbFields; ++i) {
    const PluginField &field = fields->fields[i];
    if (!field.name || !field.data || field.length < 1) continue;
    if (!std::strcmp(field.name, "height")) parameters->height = *static_cast<const int32_t *>(field.data);
    if (!std::strcmp(field.name, "width")) parameters->width = *static_cast<const int32_t *>(field.data);
    if (!std::strcmp(field.name, "zero_point")) parameters->zero_point = *static_cast<const int32_t *>(field.data);
    if (!std::strcmp(field.name, "scale")) parameters->scale = *static_cast<const float *>(field.data);
  }
  return parameters->height > 0 && parameters->width > 0 && parameters->scale > 0.f;
}

class Creator final : public IPluginCreatorV3One {
 public:
  IPluginV3 *createPlugin(const char *, const PluginFieldCollection *fields, TensorRTPhase) noexcept override {
    Parameters parameters;
    return read(fields, &parameters) ? new (std::nothrow) ScatterQuantize(parameters) : nullptr;
  }
  const PluginFieldCollection *getFieldNames() noexcept override { return &collection_; }
  const char *getPluginName() const noexcept override { return kName; }
  const char *getPluginVersion() const noexcept override { return kVersion; }
  const char *getPluginNamespace() const noexcept override { return kNamespace; }

 private:
  PluginField names_[4] = {{"height", nullptr, PluginFieldType::kINT32, 1},
                           {"width", nullptr, PluginFieldType::kINT32, 1},
                           {"zero_point", nullptr, PluginFieldType::kINT32, 1},
                           {"scale", nullptr, PluginFieldType::kFLOAT32, 1}};
  PluginFieldCollection collection_{4, names_};
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder *) {}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface *const *getCreators(int32_t &count) {
  static Creator creator;
  static nvinfer1::IPluginCreatorInterface *const creators[] = {&creator};
  count = 1;
  return creators;
}
