// The smallest engine, to copy from: y (N, 4) = a x + b with a and b from the folder's affine.txt ("a b", default "2 1").
#include "percept_engine.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <new>

namespace {

constexpr int64_t kWidth = 4;
const percept_tensor_spec kInput = {"x", PERCEPT_FLOAT32, 2, {-1, kWidth}};
const percept_tensor_spec kOutput = {"y", PERCEPT_FLOAT32, 2, {-1, kWidth}};

struct Affine {
  percept_engine interface;
  float a = 2.f, b = 1.f;
  char error[128] = "";
};

Affine *self(percept_engine *engine) { return static_cast<Affine *>(engine->state); }

int32_t output_shapes(percept_engine *, const percept_tensor *inputs, percept_tensor *outputs) {
  outputs[0].rank = 2;
  outputs[0].shape[0] = inputs[0].shape[0];
  outputs[0].shape[1] = kWidth;
  return PERCEPT_OK;
}

int32_t run(percept_engine *engine, const percept_tensor *inputs, percept_tensor *outputs, int64_t) {
  Affine *affine = self(engine);
  const int64_t count = inputs[0].shape[0] * kWidth;
  if (outputs[0].capacity_bytes < count * static_cast<int64_t>(sizeof(float))) {
    std::snprintf(affine->error, sizeof affine->error, "output holds %lld bytes, too few for %lld values",
                  static_cast<long long>(outputs[0].capacity_bytes), static_cast<long long>(count));
    return PERCEPT_BAD_INPUT;
  }
  const float *x = static_cast<const float *>(inputs[0].data);
  float *y = static_cast<float *>(outputs[0].data);
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) {
      std::snprintf(affine->error, sizeof affine->error, "x[%lld] is not finite", static_cast<long long>(i));
      return PERCEPT_FAILED;
    }
    y[i] = affine->a * x[i] + affine->b;
  }
  return PERCEPT_OK;
}

const char *error(const percept_engine *engine) { return static_cast<const Affine *>(engine->state)->error; }

void destroy(percept_engine *engine) { delete self(engine); }

}  // namespace

PERCEPT_ENGINE_EXPORT int32_t percept_engine_abi(void) { return PERCEPT_ENGINE_ABI; }

PERCEPT_ENGINE_EXPORT percept_engine *create_engine(const char *folder, char *error_text, int64_t error_bytes) {
  Affine *made = new (std::nothrow) Affine;
  if (!made) return nullptr;
  char path[4096];
  std::snprintf(path, sizeof path, "%s/affine.txt", folder);
  if (FILE *file = std::fopen(path, "r")) {
    const int read = std::fscanf(file, "%f %f", &made->a, &made->b);
    std::fclose(file);
    if (read != 2) {
      std::snprintf(error_text, static_cast<size_t>(error_bytes), "'%s' must hold two numbers", path);
      delete made;
      return nullptr;
    }
  }
  made->interface = {PERCEPT_ENGINE_ABI, sizeof(percept_engine), made, 1, 1, &kInput, &kOutput, output_shapes, run, error, destroy};
  return &made->interface;
}
