#include "percept_cluster.h"

#include <algorithm>
#include <numeric>

#include "cluster_parts.h"

namespace percept {
namespace {

constexpr int kProfile = 720;  // azimuth bins of half a degree

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
