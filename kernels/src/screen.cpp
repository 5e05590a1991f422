#include "percept_screen.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

int64_t percept_screen_image(const uint8_t *image, int64_t height, int64_t width, int64_t row_bytes, int64_t stride,
                             uint8_t *sample, double *figures) {
  if (!image || !sample || !figures || height < 1 || width < 1 || stride < 1 || row_bytes < 3 * width) return -1;
  uint64_t sum = 0, squares = 0, steps = 0, pairs = 0;
  uint8_t *to = sample;
  for (int64_t y = 0; y < height; y += stride) {
    const uint8_t *row = image + y * row_bytes, *next = row + stride * row_bytes;
    const bool more = y + stride < height;
    for (int64_t x = 0; x < width; x += stride) {
      const uint8_t *at = row + 3 * x;
      if (more) __builtin_prefetch(next + 3 * x);  // every pixel lies on a line of its own, far from the cache
      const bool paired = x + 1 < width;
      for (int c = 0; c < 3; ++c) {
        const uint32_t value = *to++ = at[c];
        sum += value;
        squares += value * value;
        if (paired) steps += static_cast<uint64_t>(std::abs(static_cast<int>(value) - at[3 + c]));
      }
      pairs += 3 * paired;
    }
  }
  const double count = static_cast<double>(to - sample), mean = static_cast<double>(sum) / count;
  figures[0] = mean;
  figures[1] = std::sqrt(std::max(0.0, static_cast<double>(squares) / count - mean * mean));
  figures[2] = pairs ? static_cast<double>(steps) / static_cast<double>(pairs) : 0.0;
  return to - sample;
}
