#include "percept_screen.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr uint32_t kDark = 8, kBright = 247;  // pixels beyond these are the same in every image, noise or not

float floatAt(const uint8_t *at) {
  float value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

double rangeOf(const uint8_t *point) {
  const double x = floatAt(point), y = floatAt(point + 4), z = floatAt(point + 8);
  return std::sqrt(x * x + y * y + z * z);
}

double middle(std::vector<double> &values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  for (double v : values)
    if (std::isnan(v)) return v;
  const auto half = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), half, values.end());
  return values.size() % 2 ? *half : 0.5 * (*half + *std::max_element(values.begin(), half));
}

double share(int64_t part, int64_t all) { return all ? static_cast<double>(part) / static_cast<double>(all) : 0.0; }

}  // namespace

int64_t percept_screen_image(const uint8_t *image, int64_t height, int64_t width, int64_t row_bytes, int64_t stride,
                             const uint8_t *before, uint8_t *sample, double *figures) {
  if (!image || !sample || !figures || height < 1 || width < 1 || stride < 1 || row_bytes < 3 * width) return -1;
  uint64_t sum = 0, squares = 0, steps = 0, pairs = 0;
  int64_t same = 0, able = 0, alike = 0;
  uint8_t *to = sample;
  for (int64_t y = 0; y < height; y += stride) {
    const uint8_t *row = image + y * row_bytes, *next = row + stride * row_bytes;
    const bool more = y + stride < height;
    for (int64_t x = 0; x < width; x += stride) {
      const uint8_t *at = row + 3 * x;
      if (more) __builtin_prefetch(next + 3 * x);  // every pixel lies on a line of its own, far from the cache
      const bool paired = x + 1 < width;
      for (int c = 0; c < 3; ++c) {
        const uint32_t value = *to = at[c];
        sum += value;
        squares += value * value;
        if (paired) steps += static_cast<uint64_t>(std::abs(static_cast<int>(value) - at[3 + c]));
        if (before) {
          const bool equal = before[to - sample] == *to, counts = value > kDark && value < kBright;
          same += equal;
          able += counts;
          alike += counts && equal;
        }
        ++to;
      }
      pairs += 3 * paired;
    }
  }
  const double count = static_cast<double>(to - sample), mean = static_cast<double>(sum) / count;
  figures[0] = mean;
  figures[1] = std::sqrt(std::max(0.0, static_cast<double>(squares) / count - mean * mean));
  figures[2] = pairs ? static_cast<double>(steps) / static_cast<double>(pairs) : 0.0;
  figures[3] = share(same, to - sample);
  figures[4] = share(alike, able);
  return to - sample;
}

int64_t percept_screen_points(const uint8_t *points, int64_t count, int64_t point_bytes, const uint8_t *intensity,
                              int64_t intensity_bytes, int64_t stride, const float *before, int64_t before_size, float *sample,
                              double *figures) {
  if (!points || !sample || !figures || count < 1 || stride < 1 || point_bytes < 12 || before_size < 0 || (before_size && !before))
    return -1;
  std::vector<double> steps;
  steps.reserve(static_cast<size_t>(count / stride + 1));
  for (int64_t i = 0; i + 1 < count; i += stride) {
    const uint8_t *at = points + i * point_bytes;
    __builtin_prefetch(at + stride * point_bytes);
    steps.push_back(std::fabs(rangeOf(at + point_bytes) - rangeOf(at)));
  }
  figures[0] = middle(steps);
  int64_t size = 0;
  bool told = false;  // whether intensities differ
  for (int64_t i = 0; intensity && i < count; i += stride) {
    sample[size] = floatAt(intensity + i * intensity_bytes);
    told |= sample[size] > sample[0] || sample[size] < sample[0];
    ++size;
  }
  if (!told) {
    size = 0;
    for (int64_t i = 0; i < count; i += stride, size += 3) std::memcpy(sample + size, points + i * point_bytes, 12);
  }
  int64_t same = 0;
  for (int64_t i = 0; size == before_size && i < size; ++i) same += sample[i] == before[i];
  figures[1] = share(same, size);
  return size;
}
