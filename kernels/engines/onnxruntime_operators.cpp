// Custom operators for ONNX Runtime, domain "percept": ScatterQuantize(features (P, C) float, cells (P,) int32, mean (C,) float,
// inverse_std (C,) float) -> canvas (1, C, height, width) int8, with attributes height, width, zero_point (int), scale (float).
#include "../percept_scatter.h"
#include "onnxruntime_abi.h"

#include <new>

namespace {

struct Kernel {
  const ort::Api *api;
  int64_t height = 0, width = 0, zero_point = 0;
  float scale = 1.f;
};

struct Input {
  void *data = nullptr;
  int64_t shape[2] = {0, 1};
};

ort::Status *read(const Kernel &kernel, const void *context, size_t index, size_t rank, Input *input) {
  const void *value = nullptr;
  void *info = nullptr;
  size_t found = 0;
  if (ort::Status *bad = ort::input_of(kernel.api, context, index, &value)) return bad;
  if (ort::Status *bad = ort::info_of(kernel.api, value, &info)) return bad;
  ort::Status *bad = ort::rank_of(kernel.api, info, &found);
  if (!bad && found != rank) bad = ort::create_status(kernel.api, ort::kInvalidArgument, "ScatterQuantize: an input has a wrong rank");
  if (!bad) bad = ort::dimensions_of(kernel.api, info, input->shape, rank);
  ort::release_info(kernel.api, info);
  return bad ? bad : ort::data_of(kernel.api, const_cast<void *>(value), &input->data);
}

ort::Status *compute(void *self, void *context) {
  const Kernel &kernel = *static_cast<Kernel *>(self);
  Input features, cells, mean, inverse_std;
  if (ort::Status *bad = read(kernel, context, 0, 2, &features)) return bad;
  if (ort::Status *bad = read(kernel, context, 1, 1, &cells)) return bad;
  if (ort::Status *bad = read(kernel, context, 2, 1, &mean)) return bad;
  if (ort::Status *bad = read(kernel, context, 3, 1, &inverse_std)) return bad;
  const int64_t pillars = features.shape[0], channels = features.shape[1];
  const bool fits = cells.shape[0] == pillars && mean.shape[0] == channels && inverse_std.shape[0] == channels;
  if (!fits || pillars > INT32_MAX || channels > INT32_MAX)
    return ort::create_status(kernel.api, ort::kInvalidArgument, "ScatterQuantize: inputs differ in pillars or channels");
  const int64_t shape[4] = {1, channels, kernel.height, kernel.width};
  void *value = nullptr, *canvas = nullptr;
  if (ort::Status *bad = ort::output_of(kernel.api, context, 0, shape, 4, &value)) return bad;
  if (ort::Status *bad = ort::data_of(kernel.api, value, &canvas)) return bad;
  const int32_t written = percept_scatter_quantize(
      static_cast<const float *>(features.data), static_cast<const int32_t *>(cells.data), static_cast<int32_t>(pillars),
      static_cast<int32_t>(channels), static_cast<int32_t>(kernel.height), static_cast<int32_t>(kernel.width),
      static_cast<const float *>(mean.data), static_cast<const float *>(inverse_std.data), kernel.scale,
      static_cast<int32_t>(kernel.zero_point), static_cast<int8_t *>(canvas));
  return written < 0 ? ort::create_status(kernel.api, ort::kFail, "ScatterQuantize: impossible arguments") : nullptr;
}

ort::Status *create(const ort::Operator *, const ort::Api *api, const void *info, void **made) {
  Kernel kernel{api};
  if (ort::Status *bad = ort::attribute(api, info, "height", &kernel.height)) return bad;
  if (ort::Status *bad = ort::attribute(api, info, "width", &kernel.width)) return bad;
  if (ort::Status *bad = ort::attribute(api, info, "zero_point", &kernel.zero_point)) return bad;
  if (ort::Status *bad = ort::attribute(api, info, "scale", &kernel.scale)) return bad;
  const bool sane = kernel.height > 0 && kernel.width > 0 && kernel.height < (1 << 20) && kernel.width < (1 << 20);
  if (!sane) return ort::create_status(api, ort::kInvalidArgument, "ScatterQuantize: height or width is impossible");
  *made = new (std::nothrow) Kernel(kernel);
  return *made ? nullptr : ort::create_status(api, ort::kFail, "ScatterQuantize: out of memory");
}

ort::Operator scatter_quantize() {
  ort::Operator op{};
  op.version = 16;
  op.name = [](const ort::Operator *) { return "ScatterQuantize"; };
  op.provider = [](const ort::Operator *) -> const char * { return nullptr; };
  op.input_type = [](const ort::Operator *, size_t i) { return i == 1 ? ort::kInt32 : ort::kFloat; };
  op.input_count = [](const ort::Operator *) -> size_t { return 4; };
  op.output_type = [](const ort::Operator *, size_t) { return ort::kInt8; };
  op.output_count = [](const ort::Operator *) -> size_t { return 1; };
  op.destroy = [](void *kernel) { delete static_cast<Kernel *>(kernel); };
  op.input_characteristic = [](const ort::Operator *, size_t) -> int32_t { return 0; };   // required
  op.output_characteristic = [](const ort::Operator *, size_t) -> int32_t { return 0; };  // required
  op.input_memory = [](const ort::Operator *, size_t) -> int32_t { return 0; };           // default
  op.variadic_input_minimum = [](const ort::Operator *) { return 1; };
  op.variadic_input_homogeneous = [](const ort::Operator *) { return 1; };
  op.variadic_output_minimum = [](const ort::Operator *) { return 1; };
  op.variadic_output_homogeneous = [](const ort::Operator *) { return 1; };
  op.create_kernel_v2 = create;
  op.compute_v2 = compute;
  return op;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) ort::Status *RegisterCustomOps(void *session_options, const ort::ApiBase *base) {
  static const ort::Operator op = scatter_quantize();
  static void *domain = nullptr;  // one for the process: sessions keep using it
  const ort::Api *api = base->get_api(16);
  if (!api) return nullptr;  // a run-time older than this interface: it will say that the operator is unknown
  if (!domain) {
    if (ort::Status *bad = ort::create_domain(api, "percept", &domain)) return bad;
    if (ort::Status *bad = ort::add_operator(api, domain, &op)) return bad;
  }
  return ort::add_domain(api, session_options, domain);
}
