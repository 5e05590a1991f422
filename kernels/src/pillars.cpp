#include "percept_pillars.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

bool valid(const PerceptPillarGrid& g) {
  for (int k = 0; k < 3; ++k) {
    if (!std::isfinite(g.low[k]) || !std::isfinite(g.high[k]) || !(g.high[k] > g.low[k]) || !(g.cell[k] > 0.0f)) return false;
  }
  return g.nx > 0 && g.ny > 0 && static_cast<int64_t>(g.nx) * g.ny <= (int64_t{1} << 26) && g.max_pillars > 0 &&
         g.max_points > 0 && (g.features == 4 || g.features == 9 || g.features == 10);
}

// Offsets from the mean of the pillar's returns and from its middle.
void decorate(const PerceptPillarGrid& g, float* pillar, const int32_t* cell, int32_t count) {
  float mean[3] = {};
  for (int32_t i = 0; i < count; ++i) {
    for (int k = 0; k < 3; ++k) mean[k] += pillar[i * g.features + k];
  }
  for (float& m : mean) m /= static_cast<float>(count);
  const float middle[3] = {g.low[0] + (cell[1] + 0.5f) * g.cell[0], g.low[1] + (cell[0] + 0.5f) * g.cell[1],
                           g.low[2] + 0.5f * g.cell[2]};
  for (int32_t i = 0; i < count; ++i) {
    float* row = pillar + i * g.features;
    for (int k = 0; k < 3; ++k) row[4 + k] = row[k] - mean[k];
    for (int k = 0; k < g.features - 7; ++k) row[7 + k] = row[k] - middle[k];
  }
}

}  // namespace

int32_t percept_pillarise(const float* points, int64_t count, int64_t stride, const float* fourth,
                          const double* model_SE3_lidar, const PerceptPillarGrid* grid, float* pillars, int32_t* cells,
                          int32_t* counts, int32_t dirty) {
  if (count < 0 || (points == nullptr && count > 0) || stride < 3 || model_SE3_lidar == nullptr || grid == nullptr ||
      !valid(*grid) || pillars == nullptr || cells == nullptr || counts == nullptr || dirty < 0 || dirty > grid->max_pillars) {
    return -1;
  }
  const PerceptPillarGrid& g = *grid;
  float t[12];
  for (int i = 0; i < 12; ++i) {
    t[i] = static_cast<float>(model_SE3_lidar[i]);
    if (!std::isfinite(t[i])) return -1;
  }
  thread_local std::vector<int32_t> slot;
  slot.assign(static_cast<size_t>(g.nx) * g.ny, -1);
  const size_t size = static_cast<size_t>(g.max_points) * g.features;
  int32_t used = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float* p = points + i * stride;
    const float q[3] = {t[0] * p[0] + t[1] * p[1] + t[2] * p[2] + t[3], t[4] * p[0] + t[5] * p[1] + t[6] * p[2] + t[7],
                        t[8] * p[0] + t[9] * p[1] + t[10] * p[2] + t[11]};
    if (!(q[0] >= g.low[0] && q[0] < g.high[0] && q[1] >= g.low[1] && q[1] < g.high[1] && q[2] >= g.low[2] && q[2] < g.high[2])) {
      continue;
    }
    const int32_t x = std::min(g.nx - 1, static_cast<int32_t>((q[0] - g.low[0]) / g.cell[0]));
    const int32_t y = std::min(g.ny - 1, static_cast<int32_t>((q[1] - g.low[1]) / g.cell[1]));
    int32_t& at = slot[static_cast<size_t>(y) * g.nx + x];
    if (at < 0) {
      if (used == g.max_pillars) continue;
      at = used++;
      cells[2 * at] = y, cells[2 * at + 1] = x, counts[at] = 0;
      std::fill_n(pillars + at * size, size, 0.0f);
    }
    if (counts[at] == g.max_points) continue;
    float* row = pillars + at * size + static_cast<size_t>(counts[at]++) * g.features;
    row[0] = q[0], row[1] = q[1], row[2] = q[2], row[3] = fourth == nullptr ? 0.0f : fourth[i];
  }
  if (g.features > 4) {
    for (int32_t k = 0; k < used; ++k) decorate(g, pillars + k * size, cells + 2 * k, counts[k]);
  }
  if (dirty > used) std::fill(pillars + used * size, pillars + dirty * size, 0.0f);
  return used;
}
