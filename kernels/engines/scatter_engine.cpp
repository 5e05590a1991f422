// The fused operator scatter + normalise + quantise as an engine. The folder's scatter.txt holds
//   channels height width scale zero_point, then channels means, then channels standard deviations.
#include "../percept_scatter.h"
#include "percept_engine.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace {

struct Scatter {
  percept_engine interface;
  percept_tensor_spec inputs[2], outputs[1];
  int32_t channels = 0, height = 0, width = 0, zero_point = 0;
  float scale = 1.f;
  std::vector<float> mean, inverse_std;
  std::string error;
};

Scatter *self(const percept_engine *engine) { return static_cast<Scatter *>(engine->state); }

int32_t fail(Scatter *scatter, int32_t status, const char *text) {
  scatter->error = text;
  return status;
}

int32_t run(percept_engine *engine, const percept_tensor *inputs, percept_tensor *outputs, int64_t) {
  Scatter *s = self(engine);
  const int64_t pillars = inputs[0].shape[0];
  if (inputs[1].shape[0] != pillars) return fail(s, PERCEPT_BAD_INPUT, "features and cells differ in pillars");
  if (pillars > INT32_MAX) return fail(s, PERCEPT_BAD_INPUT, "too many pillars");
  const int64_t bytes = static_cast<int64_t>(s->channels) * s->height * s->width;
  if (outputs[0].capacity_bytes < bytes) return fail(s, PERCEPT_BAD_INPUT, "canvas is too small");
  const int32_t written = percept_scatter_quantize(
      static_cast<const float *>(inputs[0].data), static_cast<const int32_t *>(inputs[1].data), static_cast<int32_t>(pillars),
      s->channels, s->height, s->width, s->mean.data(), s->inverse_std.data(), s->scale, s->zero_point,
      static_cast<int8_t *>(outputs[0].data));
  return written < 0 ? fail(s, PERCEPT_FAILED, "operator refused its arguments") : PERCEPT_OK;
}

const char *error(const percept_engine *engine) { return self(engine)->error.c_str(); }

void destroy(percept_engine *engine) { delete self(engine); }

bool read(const std::string &path, Scatter &s) {
  std::ifstream file(path);
  if (!(file >> s.channels >> s.height >> s.width >> s.scale >> s.zero_point)) return false;
  if (s.channels < 1 || s.channels > 4096 || s.height < 1 || s.width < 1 || !(s.scale > 0.f)) return false;
  s.mean.resize(static_cast<size_t>(s.channels));
  s.inverse_std.resize(s.mean.size());
  for (float &value : s.mean) file >> value;
  for (float &value : s.inverse_std) {
    file >> value;
    value = 1.f / value;
  }
  return static_cast<bool>(file);
}

}  // namespace

PERCEPT_ENGINE_EXPORT int32_t percept_engine_abi(void) { return PERCEPT_ENGINE_ABI; }

PERCEPT_ENGINE_EXPORT percept_engine *create_engine(const char *folder, char *error_text, int64_t error_bytes) try {
  auto made = std::make_unique<Scatter>();
  const std::string path = std::string(folder) + "/scatter.txt";
  if (!read(path, *made)) {
    std::snprintf(error_text, static_cast<size_t>(error_bytes), "'%s' is missing or wrong", path.c_str());
    return nullptr;
  }
  made->inputs[0] = {"features", PERCEPT_FLOAT32, 2, {-1, made->channels}};
  made->inputs[1] = {"cells", PERCEPT_INT32, 1, {-1}};
  made->outputs[0] = {"canvas", PERCEPT_INT8, 4, {1, made->channels, made->height, made->width}};
  made->interface = {PERCEPT_ENGINE_ABI, sizeof(percept_engine), made.get(), 2, 1, made->inputs, made->outputs, nullptr, run, error, destroy};
  return &made.release()->interface;
} catch (...) {
  std::snprintf(error_text, static_cast<size_t>(error_bytes), "out of memory");
  return nullptr;
}
