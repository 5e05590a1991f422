#include "percept_heading.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr double kMargin = 0.3, kFloor = 0.05, kRoof = 0.4;  // metres beyond the sides, above the lower face, above the upper one
constexpr int kBins = PERCEPT_HEADING_BINS;
constexpr int kGrid = 128;
constexpr double kCell = 1.0, kFarthest = 1e4;

struct Box {
  double x, y, floor, length, width, height, c, s, reach;
  std::vector<double> bins[kBins];
};

// Which boxes a point may lie in, by cells of one metre around the origin.
class Near {
 public:
  explicit Near(const std::vector<Box> &boxes) : busy_(kGrid * kGrid), cells_(kGrid * kGrid) {
    for (size_t k = 0; k < boxes.size(); ++k) {
      const Box &b = boxes[k];
      for (int j = cell(b.y - b.reach); j <= cell(b.y + b.reach); ++j)
        for (int i = cell(b.x - b.reach); i <= cell(b.x + b.reach); ++i) {
          busy_[j * kGrid + i] = 1;
          cells_[j * kGrid + i].push_back(static_cast<int>(k));
        }
    }
  }
  bool empty(double x, double y) const { return !busy_[cell(y) * kGrid + cell(x)]; }
  const std::vector<int> &at(double x, double y) const { return cells_[cell(y) * kGrid + cell(x)]; }

 private:
  // What lies beyond the grid belongs to the cells at its edge.
  static int cell(double v) { return static_cast<int>(std::clamp(v / kCell + kGrid / 2, 0.0, kGrid - 1.0)); }
  std::vector<uint8_t> busy_;
  std::vector<std::vector<int>> cells_;
};

void take(Box &b, double x, double y, double z) {
  const double dx = x - b.x, dy = y - b.y, along = dx * b.c + dy * b.s, left = dy * b.c - dx * b.s, up = z - b.floor;
  const double half = 0.5 * b.length + kMargin;
  if (std::fabs(along) >= half || std::fabs(left) >= 0.5 * b.width + kMargin || up <= kFloor || up >= b.height + kRoof) return;
  const int bin = std::clamp(static_cast<int>((along / (2 * half) + 0.5) * kBins), 0, kBins - 1);
  b.bins[bin].push_back(up);
}

double middle(std::vector<double> &v) {
  const auto half = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), half, v.end());
  return v.size() % 2 ? *half : 0.5 * (*half + *std::max_element(v.begin(), half));
}

int64_t describe(Box &b, double *f) {
  size_t total = 0;
  for (const auto &bin : b.bins) total += bin.size();
  for (int k = 0; k < kBins; ++k) {
    auto &bin = b.bins[k];
    if (bin.empty()) continue;
    f[k] = *std::max_element(bin.begin(), bin.end());
    f[2 * kBins + k] = *std::min_element(bin.begin(), bin.end());
    f[kBins + k] = middle(bin);
    f[3 * kBins + k] = std::log1p(static_cast<double>(bin.size())) / std::log1p(static_cast<double>(total));
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
    b.reach = std::hypot(0.5 * b.length + kMargin, 0.5 * b.width + kMargin);
  }
  std::fill(features, features + PERCEPT_HEADING_FEATURES * n, 0.0);
  const Near near(made);
  const double *T = base_SE3_sensor;
  for (int64_t i = 0; i < count; ++i) {
    float p[3];
    std::memcpy(p, points + i * point_bytes, sizeof p);
    const double x = T[0] * p[0] + T[1] * p[1] + T[2] * p[2] + T[3], y = T[4] * p[0] + T[5] * p[1] + T[6] * p[2] + T[7];
    if (!(std::fabs(x) < kFarthest && std::fabs(y) < kFarthest) || near.empty(x, y)) continue;
    const double z = T[8] * p[0] + T[9] * p[1] + T[10] * p[2] + T[11];
    if (!std::isfinite(z)) continue;
    for (int k : near.at(x, y)) take(made[static_cast<size_t>(k)], x, y, z);
  }
  for (int64_t k = 0; k < n; ++k) inside[k] = describe(made[static_cast<size_t>(k)], features + PERCEPT_HEADING_FEATURES * k);
  return 0;
}
