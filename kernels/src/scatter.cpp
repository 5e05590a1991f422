#include "../percept_scatter.h"

#include <cmath>
#include <cstring>

namespace {

int8_t quantise(float value, float mean, float factor, float zero_point) {
  const float q = std::nearbyint((value - mean) * factor) + zero_point;
  return static_cast<int8_t>(q < -128.f ? -128.f : (q > 127.f ? 127.f : q));
}

bool finite_positive(float value) { return std::isfinite(value) && value > 0.f; }

}  // namespace

int32_t percept_scatter_quantize(const float *features, const int32_t *cells, int32_t pillars, int32_t channels,
                                 int32_t height, int32_t width, const float *mean, const float *inverse_std, float scale,
                                 int32_t zero_point, int8_t *canvas) {
  const int64_t area = static_cast<int64_t>(height) * width;
  if (!mean || !inverse_std || !canvas || (pillars > 0 && (!features || !cells))) return -1;
  if (pillars < 0 || channels < 1 || height < 1 || width < 1 || area > (1 << 30)) return -2;
  if (!finite_positive(scale) || zero_point < -128 || zero_point > 127) return -3;
  int32_t written = 0;
  for (int32_t c = 0; c < channels; ++c) {
    const float factor = inverse_std[c] / scale, offset = static_cast<float>(zero_point);
    int8_t *plane = canvas + c * area;
    std::memset(plane, quantise(0.f, mean[c], factor, offset), static_cast<size_t>(area));
    for (int32_t p = 0; p < pillars; ++p) {
      if (cells[p] < 0 || cells[p] >= area) continue;
      const float value = features[static_cast<int64_t>(p) * channels + c];
      plane[cells[p]] = quantise(value == value ? value : mean[c], mean[c], factor, offset);
      written += c == 0;
    }
  }
  return written;
}
