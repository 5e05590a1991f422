#include "percept_cluster.h"

#include <algorithm>
#include <numeric>

#include "cluster_parts.h"

namespace percept {
namespace {

constexpr int kHeightBits = 32;
constexpr float kHeightStep = 0.15f;
constexpr int kProfile = 720;  // azimuth bins of half a degree

struct Cell {
  int32_t ix, iy, core;  // core: number of returns below core_height_m
  uint32_t heights;      // bit k: a return between k and k + 1 height steps above the ground
  float range, top;
  bool cut, tall;
};

struct Extent {
  int32_t low_x = 1 << 30, high_x = -(1 << 30), low_y = 1 << 30, high_y = -(1 << 30);
  float top = 0.0f;
  float length(float cell_m) const {
    return cell_m * std::hypot(static_cast<float>(high_x - low_x + 1), static_cast<float>(high_y - low_y + 1));
  }
};

// Everything one sweep needs, kept between calls.
struct Workspace {
  std::vector<Return> returns, obstacles;
  Ground ground;
  std::vector<int32_t> grid, cell_of, parent, cluster_of, first, members;
  std::vector<Cell> cells;
  std::vector<Extent> extent;
  std::vector<uint8_t> split, loose;
  std::vector<float> profile;
  std::vector<Point2> outline;
  float ceiling = 0.0f;  // tangent of the highest beam's elevation
  float density = 1.0f;  // returns per radian of azimuth and unit of elevation tangent, near the horizon
};

struct Job {
  const PerceptClusterConfig& config;
  float sensor_x, sensor_y, sensor_z;
  Workspace& work;
};

bool valid(const PerceptClusterConfig& c) {
  const float all[] = {c.min_range_m,  c.max_range_m,   c.ground_prior_m, c.ground_slope, c.ground_clearance_m,
                       c.max_height_m, c.core_height_m, c.tall_m, c.mixed_length_m, c.cell_m, c.join_near_m,  c.join_per_m,
                       c.join_far_m,   c.split_length_m};
  for (float v : all) {
    if (!std::isfinite(v) || v < 0.0f) return false;
  }
  return c.min_range_m > 0.0f && c.max_range_m > c.min_range_m && c.max_range_m <= 200.0f && c.cell_m >= 0.05f &&
         c.ground_prior_m > 0.0f && c.min_points >= 1 && c.join_far_m <= 3.0f;
}

void gather(const float* points, int64_t count, int64_t stride, const double* m, const Job& job) {
  float t[12];
  for (int i = 0; i < 12; ++i) t[i] = static_cast<float>(m[i]);
  job.work.returns.clear();
  for (int64_t i = 0; i < count; ++i) {
    const float* p = points + i * stride;
    const float x = t[0] * p[0] + t[1] * p[1] + t[2] * p[2] + t[3];
    const float y = t[4] * p[0] + t[5] * p[1] + t[6] * p[2] + t[7];
    const float z = t[8] * p[0] + t[9] * p[1] + t[10] * p[2] + t[11];
    const float dx = x - job.sensor_x, dy = y - job.sensor_y, range = std::sqrt(dx * dx + dy * dy);
    if (!(range > job.config.min_range_m && range < job.config.max_range_m) || !std::isfinite(z)) continue;
    float azimuth = std::atan2(dy, dx);
    if (azimuth < 0.0f) azimuth += kTwoPi;
    job.work.returns.push_back({x, y, z, range, azimuth, 0.0f, static_cast<int32_t>(i)});
  }
}

// Sets the tangent of the elevation that one return in a thousand exceeds, and the density of returns near the horizon.
void measure_beams(const Job& job) {
  constexpr int kBins = 400;
  constexpr float kStep = 0.005f;
  int count[kBins] = {};
  for (const Return& r : job.work.returns) {
    const float tangent = (r.z - job.sensor_z) / r.range + 1.0f;
    ++count[std::clamp(static_cast<int>(tangent / kStep), 0, kBins - 1)];
  }
  int left = static_cast<int>(job.work.returns.size() / 1000), bin = kBins - 1;
  while (bin > 0 && (left -= count[bin]) >= 0) --bin;
  job.work.ceiling = (bin + 1) * kStep - 1.0f;
  const int low = static_cast<int>((1.0f - 0.12f) / kStep), high = static_cast<int>((1.0f + 0.02f) / kStep);
  const int band = std::accumulate(count + low, count + high, 0);
  job.work.density = std::max(1.0f, band / ((high - low) * kStep * kTwoPi));
}

void select_obstacles(const Job& job, int32_t* labels) {
  auto& out = job.work.obstacles;
  out.clear();
  for (const Return& r : job.work.returns) {
    const float clearance = job.config.ground_clearance_m + 0.002f * r.range;
    if (r.height > clearance && r.height < job.config.max_height_m) {
      out.push_back(r);
    } else if (labels != nullptr && r.height <= clearance) {
      labels[r.source] = -2;
    }
  }
}

// Highest step reached from the lowest without a gap that the beam spacing does not explain.
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

// Returns grouped by cluster: members[first[k] .. first[k + 1]) of cluster k.
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

// Nearest obstacle in each direction.
void fill_profile(const Job& job) {
  job.work.profile.assign(kProfile, 1e9f);
  for (const Return& r : job.work.obstacles) {
    if (r.height > job.config.core_height_m) continue;
    float& nearest = job.work.profile[std::min(kProfile - 1, static_cast<int>(r.azimuth * (kProfile / kTwoPi)))];
    nearest = std::min(nearest, r.range);
  }
}

struct Summary {
  float bottom = 1e9f, range = 1e9f, overhang = 0.0f, depth = 0.0f, hidden = 0.0f, top = 0.0f, cut = 0.0f, fill = 0.0f;
};

// Nearest core return in each direction, relative to the sensor; fills work.outline.
Summary trace_outline(const Job& job, const int32_t* begin, const int32_t* end) {
  Workspace& w = job.work;
  Summary sum;
  // Azimuths relative to the first member, so that a cluster across the wrap stays in one piece.
  const float reference = w.obstacles[*begin].azimuth;
  auto relative = [&](float azimuth) {
    float a = azimuth - reference;
    return a > kTwoPi / 2 ? a - kTwoPi : a < -kTwoPi / 2 ? a + kTwoPi : a;
  };
  float low = 1e9f, high = -1e9f;
  uint32_t heights = 0;
  for (const int32_t* i = begin; i != end; ++i) {
    const Return& r = w.obstacles[*i];
    low = std::min(low, relative(r.azimuth)), high = std::max(high, relative(r.azimuth));
    sum.range = std::min(sum.range, r.range), sum.bottom = std::min(sum.bottom, r.height);
    sum.overhang += r.height > job.config.core_height_m;
    heights |= w.cells[w.cell_of[*i]].heights;
  }
  const int bins = std::clamp(static_cast<int>((high - low) / 0.004f) + 1, 1, 400);
  const float per_bin = (high - low) / bins + 1e-6f;
  std::vector<int32_t> nearest(bins, -1);
  auto bin_of = [&](const Return& r) { return std::min(bins - 1, static_cast<int>((relative(r.azimuth) - low) / per_bin)); };
  for (const int32_t* i = begin; i != end; ++i) {
    const Return& r = w.obstacles[*i];
    if (r.height > job.config.core_height_m) continue;
    int32_t& best = nearest[bin_of(r)];
    if (best < 0 || r.range < w.obstacles[best].range) best = *i;
  }
  w.outline.clear();
  const int32_t *left = nullptr, *right = nullptr;
  for (const int32_t& b : nearest) {
    if (b < 0) continue;
    if (right == nullptr) right = &b;
    left = &b;
    w.outline.push_back({w.obstacles[b].x - job.sensor_x, w.obstacles[b].y - job.sensor_y});
  }
  for (const int32_t* i = begin; i != end; ++i) {
    const int32_t b = nearest[bin_of(w.obstacles[*i])];
    if (b >= 0) sum.depth += w.obstacles[*i].range - w.obstacles[b].range;
  }
  auto blocked = [&](const Return& r, int step) {
    for (int k = 1; k <= 2; ++k) {
      const int bin = static_cast<int>(r.azimuth * (kProfile / kTwoPi)) + step * k;
      if (w.profile[(bin + kProfile) % kProfile] < r.range - 0.7f) return true;
    }
    return false;
  };
  if (left != nullptr) sum.hidden = 0.5f * (blocked(w.obstacles[*left], 1) + blocked(w.obstacles[*right], -1));
  const float joined = joined_top(heights, sum.range);
  for (const int32_t* i = begin; i != end; ++i) {
    const Return& r = w.obstacles[*i];
    if (r.height > joined) continue;
    sum.top = std::max(sum.top, r.height);
    if ((r.z - job.sensor_z) / r.range > w.ceiling - 0.02f) sum.cut = 1.0f;
  }
  const float solid = w.density * (high - low + 0.003f) * std::max(0.1f, sum.top - sum.bottom) / sum.range;
  sum.fill = static_cast<float>(end - begin) / std::max(1.0f, solid);
  sum.depth /= end - begin, sum.overhang /= end - begin;
  return sum;
}

void describe(const Job& job, const int32_t* begin, const int32_t* end, float* row) {
  const Summary sum = trace_outline(job, begin, end);
  const Rectangle box = fit_rectangle(job.work.outline);
  float azimuth = std::atan2(box.y, box.x);
  if (azimuth < 0.0f) azimuth += kTwoPi;
  row[CLUSTER_X] = box.x + job.sensor_x, row[CLUSTER_Y] = box.y + job.sensor_y, row[CLUSTER_YAW] = box.yaw;
  row[CLUSTER_LENGTH] = box.length, row[CLUSTER_WIDTH] = box.width;
  row[CLUSTER_GROUND_Z] = job.work.ground.at(std::hypot(box.x, box.y), azimuth);
  row[CLUSTER_BOTTOM] = sum.bottom, row[CLUSTER_TOP] = sum.top, row[CLUSTER_POINTS] = static_cast<float>(end - begin);
  row[CLUSTER_RANGE] = sum.range, row[CLUSTER_RESIDUAL] = box.residual;
  row[CLUSTER_COVER_A] = box.cover_a, row[CLUSTER_COVER_B] = box.cover_b;
  row[CLUSTER_HIDDEN] = sum.hidden, row[CLUSTER_OVERHANG] = sum.overhang, row[CLUSTER_DEPTH] = sum.depth;
  row[CLUSTER_CUT] = sum.cut, row[CLUSTER_FILL] = sum.fill;
  row[CLUSTER_SPLIT] = job.work.split.empty() ? 0.0f : job.work.split[job.work.cell_of[*begin]];
}

}  // namespace
}  // namespace percept

int32_t percept_cluster(const float* points, int64_t count, int64_t stride, const double* base_SE3_lidar,
                        const PerceptClusterConfig* config, float* clusters, int32_t max_clusters, int32_t* labels) {
  using namespace percept;
  if (count < 0 || count > (int64_t{1} << 30) || (points == nullptr && count > 0) || stride < 3 ||
      base_SE3_lidar == nullptr || config == nullptr || !valid(*config) || clusters == nullptr || max_clusters < 0) {
    return -1;
  }
  for (int i = 0; i < 12; ++i) {
    if (!std::isfinite(base_SE3_lidar[i])) return -1;
  }
  thread_local Workspace work;
  const Job job{*config, static_cast<float>(base_SE3_lidar[3]), static_cast<float>(base_SE3_lidar[7]),
                static_cast<float>(base_SE3_lidar[11]), work};
  if (labels != nullptr) std::fill(labels, labels + count, -1);
  gather(points, count, stride, base_SE3_lidar, job);
  measure_beams(job);
  work.ground.estimate(work.returns, *config);
  select_obstacles(job, labels);
  rasterise(job);
  fill_profile(job);
  const int32_t found = group(job);
  std::vector<int32_t> order;
  for (int32_t k = 0; k < found; ++k) {
    if (work.first[k + 1] - work.first[k] >= config->min_points) order.push_back(k);
  }
  std::vector<float> near(found, 1e9f);
  for (int32_t k : order) {
    for (int32_t i = work.first[k]; i < work.first[k + 1]; ++i) near[k] = std::min(near[k], work.obstacles[work.members[i]].range);
  }
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return near[a] < near[b]; });
  const int32_t kept = std::min(max_clusters, static_cast<int32_t>(order.size()));
  for (int32_t row = 0; row < kept; ++row) {
    const int32_t *begin = &work.members[work.first[order[row]]], *end = &work.members[0] + work.first[order[row] + 1];
    describe(job, begin, end, clusters + static_cast<int64_t>(row) * CLUSTER_COLUMNS);
    for (const int32_t* i = begin; labels != nullptr && i != end; ++i) labels[work.obstacles[*i].source] = row;
  }
  return kept;
}
