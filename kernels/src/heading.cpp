#include "percept_heading.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr double kMargin = 0.3, kFloor = 0.05, kRoof = 0.4;  // metres beyond the sides, above the lower face, above the upper one
constexpr int kBins = PERCEPT_HEADING_BINS;
constexpr int kGrid = 128;
constexpr double kLeastCell = 0.5;  // metres
constexpr size_t kTogether = 64;
constexpr int kBlock = 256;
constexpr double kRounding = 0.01;  // metres by which the grid, asked in single precision, may be off

struct Box {
  double x, y, floor, length, width, height, c, s, reach;
  std::vector<double> up;  // of the points inside, and the bin of each
  std::vector<uint8_t> bin;
};

// Which of up to 64 boxes a point may lie in, a bit each, by the cells of a grid over all of them.
class Near {
 public:
  Near(const Box *boxes, size_t count) : cells_(kGrid * kGrid + 1) {
    double x0 = 1e300, y0 = 1e300, x1 = -1e300, y1 = -1e300;
    for (const Box *b = boxes; b != boxes + count; ++b) {
      x0 = std::min(x0, b->x - b->reach), x1 = std::max(x1, b->x + b->reach);
      y0 = std::min(y0, b->y - b->reach), y1 = std::max(y1, b->y + b->reach);
    }
    x0_ = static_cast<float>(x0), y0_ = static_cast<float>(y0);
    per_m_ = static_cast<float>(1.0 / std::max(kLeastCell, 1.001 * std::max(x1 - x0, y1 - y0) / kGrid));
    for (size_t k = 0; k < count; ++k) {
      const Box &b = boxes[k];
      for (int j = cell(b.y - b.reach, y0); j <= cell(b.y + b.reach, y0); ++j)
        for (int i = cell(b.x - b.reach, x0); i <= cell(b.x + b.reach, x0); ++i) cells_[j * kGrid + i] |= uint64_t{1} << k;
    }
  }
  // Cells of many points; those beyond the grid, and NaN, have the one behind the last, which is empty.
  void cells(const float *x, const float *y, int count, int32_t *out) const {
    for (int k = 0; k < count; ++k) {
      const float i = (x[k] - x0_) * per_m_, j = (y[k] - y0_) * per_m_;
      const bool within = (i >= 0.0f) & (i < kGrid) & (j >= 0.0f) & (j < kGrid);
      out[k] = within ? static_cast<int32_t>(j) * kGrid + static_cast<int32_t>(i) : kGrid * kGrid;
    }
  }
  uint64_t at(int32_t cell) const { return cells_[cell]; }

 private:
  int cell(double v, double v0) const { return static_cast<int>(std::clamp((v - v0) * per_m_, 0.0, kGrid - 1.0)); }
  std::vector<uint64_t> cells_;
  float x0_ = 0, y0_ = 0, per_m_ = 1;
};

void take(Box &b, double x, double y, double z) {
  const double up = z - b.floor;
  if (up <= kFloor || up >= b.height + kRoof) return;  // most of what is near is road
  const double dx = x - b.x, dy = y - b.y, along = dx * b.c + dy * b.s, left = dy * b.c - dx * b.s;
  const double half = 0.5 * b.length + kMargin;
  if (std::fabs(along) >= half || std::fabs(left) >= 0.5 * b.width + kMargin) return;
  const int bin = std::clamp(static_cast<int>((along / (2 * half) + 0.5) * kBins), 0, kBins - 1);
  b.up.push_back(up);
  b.bin.push_back(static_cast<uint8_t>(bin));
}

void fill(Box *boxes, size_t n, const uint8_t *points, int64_t count, int64_t point_bytes, const double *T) {
  const Near near(boxes, n);
  float t[8];
  for (int k = 0; k < 8; ++k) t[k] = static_cast<float>(T[k]);
  float px[kBlock], py[kBlock], pz[kBlock], x[kBlock], y[kBlock];
  int32_t cells[kBlock];
  for (int64_t first = 0; first < count; first += kBlock) {
    const int size = static_cast<int>(std::min<int64_t>(kBlock, count - first));
    for (int k = 0; k < size; ++k) {
      const uint8_t *at = points + (first + k) * point_bytes;
      std::memcpy(px + k, at, 4), std::memcpy(py + k, at + 4, 4), std::memcpy(pz + k, at + 8, 4);
    }
    for (int k = 0; k < size; ++k) {
      x[k] = t[0] * px[k] + t[1] * py[k] + t[2] * pz[k] + t[3];
      y[k] = t[4] * px[k] + t[5] * py[k] + t[6] * pz[k] + t[7];
    }
    near.cells(x, y, size, cells);
    for (int k = 0; k < size; ++k) {
      uint64_t left = near.at(cells[k]);
      if (!left || !std::isfinite(pz[k])) continue;
      const double p[3] = {px[k], py[k], pz[k]}, z = T[8] * p[0] + T[9] * p[1] + T[10] * p[2] + T[11];
      const double u = T[0] * p[0] + T[1] * p[1] + T[2] * p[2] + T[3], v = T[4] * p[0] + T[5] * p[1] + T[6] * p[2] + T[7];
      for (; left; left &= left - 1) take(boxes[__builtin_ctzll(left)], u, v, z);
    }
  }
}

double middle(double *begin, double *end) {
  const std::ptrdiff_t count = end - begin;
  double *half = begin + count / 2;
  std::nth_element(begin, half, end);
  return count % 2 ? *half : 0.5 * (*half + *std::max_element(begin, half));
}

int64_t describe(const Box &b, std::vector<double> &sorted, double *f) {
  const size_t total = b.up.size();
  size_t end[kBins + 1] = {0}, at[kBins];
  for (uint8_t k : b.bin) ++end[k + 1];
  for (int k = 0; k < kBins; ++k) at[k] = end[k], end[k + 1] += end[k];
  sorted.resize(total);
  for (size_t i = 0; i < total; ++i) sorted[at[b.bin[i]]++] = b.up[i];
  for (int k = 0; k < kBins; ++k) {
    double *first = sorted.data() + end[k], *last = sorted.data() + end[k + 1];
    if (first == last) continue;
    f[k] = *std::max_element(first, last);
    f[2 * kBins + k] = *std::min_element(first, last);
    f[kBins + k] = middle(first, last);
    f[3 * kBins + k] = std::log1p(static_cast<double>(last - first)) / std::log1p(static_cast<double>(total));
  }
  double *g = f + 4 * kBins;
  const double range = std::max(1e-6, std::hypot(b.x, b.y));
  g[0] = -(b.x * b.c + b.y * b.s) / range;
  g[1] = (b.x * b.s - b.y * b.c) / range;
  g[2] = range / 50;
  g[3] = b.length / 5;
  g[4] = b.width / 2;
  g[5] = b.height / 2;
  g[6] = total ? std::log(static_cast<double>(total)) / 7 : 0.0;
  return static_cast<int64_t>(total);
}

}  // namespace

int32_t percept_heading_profiles(const uint8_t *points, int64_t count, int64_t point_bytes, const double *base_SE3_sensor,
                                 const double *boxes, int64_t n, double *features, int64_t *inside) {
  if (count < 0 || n < 0 || point_bytes < 12 || !base_SE3_sensor || (count && !points) || (n && (!boxes || !features || !inside)))
    return -1;
  if (!std::all_of(boxes, boxes + 7 * n, [](double v) { return std::isfinite(v); })) return -1;
  std::vector<Box> made(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) {
    const double *r = boxes + 7 * k;
    Box &b = made[static_cast<size_t>(k)];
    b.x = r[0], b.y = r[1], b.floor = r[2] - 0.5 * r[5], b.length = r[3], b.width = r[4], b.height = r[5];
    b.c = std::cos(r[6]), b.s = std::sin(r[6]);
    b.reach = std::hypot(0.5 * b.length + kMargin, 0.5 * b.width + kMargin) + kRounding;
  }
  std::fill(features, features + PERCEPT_HEADING_FEATURES * n, 0.0);
  for (size_t first = 0; first < made.size(); first += kTogether)
    fill(made.data() + first, std::min(kTogether, made.size() - first), points, count, point_bytes, base_SE3_sensor);
  std::vector<double> sorted;
  for (int64_t k = 0; k < n; ++k) inside[k] = describe(made[static_cast<size_t>(k)], sorted, features + PERCEPT_HEADING_FEATURES * k);
  return 0;
}
