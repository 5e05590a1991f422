// Cells of obstacles from above, and which of them belong together.
#include <algorithm>
#include <numeric>

#include "cluster_parts.h"

namespace percept {
namespace {

int32_t root(std::vector<int32_t>& parent, int32_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

// Calls visit(i, j) for each pair of core cells closer than the range-dependent distance times `scale`; with `loose_only`, of
// loose ones.
template <typename Visit>
void for_neighbours(const Job& job, float scale, bool loose_only, Visit visit) {
  const Workspace& w = job.work;
  const PerceptClusterConfig& c = job.config;
  const int side = static_cast<int>(2.0f * (c.max_range_m + c.cell_m) / c.cell_m) + 1;
  for (int32_t i = 0; i < static_cast<int32_t>(w.cells.size()); ++i) {
    const Cell& cell = w.cells[i];
    if (cell.core == 0 || (loose_only && !w.loose[i])) continue;
    const float join = std::max(1.5f, scale * std::min(c.join_far_m, c.join_near_m + c.join_per_m * cell.range) / c.cell_m);
    const int reach = static_cast<int>(join);
    for (int dy = 0; dy <= reach && cell.iy + dy < side; ++dy) {
      for (int dx = dy == 0 ? 1 : -reach; dx <= reach; ++dx) {
        const int x = cell.ix + dx;
        if (x < 0 || x >= side || dx * dx + dy * dy > join * join) continue;
        const int32_t j = w.grid[static_cast<size_t>(cell.iy + dy) * side + x];
        if (j >= 0 && w.cells[j].core > 0 && (!loose_only || w.loose[j])) visit(i, j);
      }
    }
  }
}

void unite(std::vector<int32_t>& parent, int32_t i, int32_t j) {
  const int32_t a = root(parent, i), b = root(parent, j);
  if (a != b) parent[std::max(a, b)] = std::min(a, b);
}

// Extent of each cluster, at the index of its root cell.
void measure_extents(const Job& job) {
  Workspace& w = job.work;
  w.extent.assign(w.cells.size(), Extent{});
  for (size_t i = 0; i < w.cells.size(); ++i) {
    if (w.cells[i].core == 0) continue;
    Extent& e = w.extent[root(w.parent, static_cast<int32_t>(i))];
    e.low_x = std::min(e.low_x, w.cells[i].ix), e.high_x = std::max(e.high_x, w.cells[i].ix);
    e.low_y = std::min(e.low_y, w.cells[i].iy), e.high_y = std::max(e.high_y, w.cells[i].iy);
    e.top = std::max(e.top, w.cells[i].top);
  }
}

// Marks the cells of clusters (by root) that `select` picks as loose, and makes each of them its own cluster.
template <typename Select>
void set_free(const Job& job, Select select) {
  Workspace& w = job.work;
  measure_extents(job);
  w.loose.assign(w.cells.size(), 0);
  for (size_t i = 0; i < w.cells.size(); ++i) {
    if (w.cells[i].core > 0) w.loose[i] = select(root(w.parent, static_cast<int32_t>(i)));
  }
  for (size_t i = 0; i < w.cells.size(); ++i) {
    if (w.loose[i]) w.parent[i] = static_cast<int32_t>(i);
  }
}

// Whether the outline of a cluster's cells lies along two edges of one rectangle no wider than a lorry, or fills one of a
// lorry's size.
bool looks_like_a_box(const Job& job, int32_t cluster) {
  constexpr int kDirections = 360;
  Workspace& w = job.work;
  const float reach = job.config.max_range_m + job.config.cell_m;
  Point2 nearest[kDirections];
  float range[kDirections];
  std::fill(range, range + kDirections, 1e9f);
  for (int32_t i = 0; i < static_cast<int32_t>(w.cells.size()); ++i) {
    if (w.cells[i].core == 0 || root(w.parent, i) != cluster) continue;
    const float x = (w.cells[i].ix + 0.5f) * job.config.cell_m - reach, y = (w.cells[i].iy + 0.5f) * job.config.cell_m - reach;
    const float azimuth = std::atan2(y, x) + kTwoPi / 2, r = std::hypot(x, y);
    const int k = std::min(kDirections - 1, static_cast<int>(azimuth * (kDirections / kTwoPi)));
    if (r < range[k]) range[k] = r, nearest[k] = {x, y};
  }
  w.outline.clear();
  for (int k = 0; k < kDirections; ++k) {
    if (range[k] < 1e8f) w.outline.push_back(nearest[k]);
  }
  const Rectangle box = fit_rectangle(w.outline);
  const float narrow = std::min(box.length, box.width), wide = std::max(box.length, box.width);
  return (box.residual < 0.5f && narrow < 3.4f) || (narrow > 2.0f && narrow < 3.2f && wide < 13.0f);
}

// Cells of clusters too long for a car that have low and tall parts are joined again, low with low and tall with tall: a
// car then stands apart from the wall beside it. Low crumbs stay with what is tall.
void part_low_from_tall(const Job& job) {
  Workspace& w = job.work;
  std::vector<uint8_t> kinds(w.cells.size(), 0), crumb(w.cells.size(), 0);
  for (size_t i = 0; i < w.cells.size(); ++i) {
    if (w.cells[i].core > 0) kinds[root(w.parent, static_cast<int32_t>(i))] |= w.cells[i].tall ? 2 : 1;
  }
  measure_extents(job);
  std::vector<uint8_t> parted(w.cells.size(), 0);
  for (int32_t r = 0; r < static_cast<int32_t>(w.cells.size()); ++r) {
    if (kinds[r] == 3 && w.extent[r].length(job.config.cell_m) > job.config.mixed_length_m) parted[r] = !looks_like_a_box(job, r);
  }
  set_free(job, [&](int32_t r) { return parted[r] != 0; });
  for_neighbours(job, 1.0f, true, [&](int32_t i, int32_t j) {
    if (w.cells[i].tall == w.cells[j].tall) unite(w.parent, i, j);
  });
  measure_extents(job);
  for (size_t i = 0; i < w.cells.size(); ++i) {
    if (!w.loose[i] || w.cells[i].tall) continue;
    crumb[i] = w.extent[root(w.parent, static_cast<int32_t>(i))].length(job.config.cell_m) < 2.5f;
    w.split[i] |= !crumb[i];
  }
  for_neighbours(job, 1.0f, true, [&](int32_t i, int32_t j) {
    if (w.cells[i].tall != w.cells[j].tall && (crumb[i] || crumb[j])) unite(w.parent, i, j);
  });
}

// Cells of clusters longer than split_length_m are joined again more strictly.
void split_long(const Job& job) {
  Workspace& w = job.work;
  set_free(job, [&](int32_t r) { return w.extent[r].length(job.config.cell_m) > job.config.split_length_m; });
  for_neighbours(job, 0.5f, true, [&](int32_t i, int32_t j) { unite(w.parent, i, j); });
  for (size_t i = 0; i < w.cells.size(); ++i) w.split[i] |= w.loose[i];
}

}  // namespace

float joined_top(uint32_t heights, float range) {
  const int allowed = 3 + static_cast<int>(0.012f * range / kHeightStep);
  int top = -1, gap = 0;
  for (int k = 0; k < kHeightBits; ++k) {
    if (heights >> k & 1u) {
      top = k, gap = 0;
    } else if (top >= 0 && ++gap > allowed) {
      break;
    }
  }
  return (top + 1) * kHeightStep;
}

void rasterise(const Job& job) {
  Workspace& w = job.work;
  const float reach = job.config.max_range_m + job.config.cell_m;
  const int side = static_cast<int>(2.0f * reach / job.config.cell_m) + 1;
  w.grid.assign(static_cast<size_t>(side) * side, -1);
  w.cells.clear();
  w.cell_of.resize(w.obstacles.size());
  for (size_t i = 0; i < w.obstacles.size(); ++i) {
    const Return& r = w.obstacles[i];
    const int ix = static_cast<int>((r.x - job.sensor_x + reach) / job.config.cell_m);
    const int iy = static_cast<int>((r.y - job.sensor_y + reach) / job.config.cell_m);
    int32_t& slot = w.grid[static_cast<size_t>(iy) * side + ix];
    if (slot < 0) {
      slot = static_cast<int32_t>(w.cells.size());
      w.cells.push_back({ix, iy, 0, 0u, r.range, 0.0f, false, false});
    }
    Cell& cell = w.cells[slot];
    cell.heights |= 1u << std::min(kHeightBits - 1, static_cast<int>(r.height / kHeightStep));
    if (r.height < job.config.core_height_m) ++cell.core;
    if ((r.z - job.sensor_z) / r.range > w.ceiling - 0.02f) cell.cut = true;
    cell.range = std::min(cell.range, r.range);
    w.cell_of[i] = slot;
  }
  for (Cell& cell : w.cells) {
    cell.top = joined_top(cell.heights, cell.range);
    cell.tall = cell.cut || cell.top > job.config.tall_m;
  }
}

int32_t group(const Job& job) {
  Workspace& w = job.work;
  w.parent.resize(w.cells.size());
  std::iota(w.parent.begin(), w.parent.end(), 0);
  for_neighbours(job, 1.0f, false, [&](int32_t i, int32_t j) { unite(w.parent, i, j); });
  w.split.assign(w.cells.size(), 0);
  part_low_from_tall(job);
  split_long(job);
  std::vector<int32_t> id(w.cells.size(), -1);
  int32_t clusters = 0;
  for (size_t i = 0; i < w.cells.size(); ++i) {
    if (w.cells[i].core == 0) continue;
    int32_t& slot = id[root(w.parent, static_cast<int32_t>(i))];
    if (slot < 0) slot = clusters++;
  }
  w.cluster_of.resize(w.obstacles.size());
  w.first.assign(clusters + 1, 0);
  for (size_t i = 0; i < w.obstacles.size(); ++i) {
    const int32_t cell = w.cell_of[i];
    w.cluster_of[i] = w.cells[cell].core == 0 ? -1 : id[root(w.parent, cell)];
    if (w.cluster_of[i] >= 0) ++w.first[w.cluster_of[i] + 1];
  }
  for (int32_t k = 0; k < clusters; ++k) w.first[k + 1] += w.first[k];
  w.members.resize(w.first[clusters]);
  std::vector<int32_t> next(w.first.begin(), w.first.end() - 1);
  for (size_t i = 0; i < w.obstacles.size(); ++i) {
    if (w.cluster_of[i] >= 0) w.members[next[w.cluster_of[i]]++] = static_cast<int32_t>(i);
  }
  return clusters;
}

}  // namespace percept
