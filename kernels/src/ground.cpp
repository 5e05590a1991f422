#include <algorithm>

#include "cluster_parts.h"

namespace percept {
namespace {

constexpr float kStep = 0.05f;  // height resolution of the search
constexpr int kMaxSteps = 64;
constexpr float kLayer = 0.15f;  // the ground of one cell is this thick

// Lowest layer within [low, high] that holds enough returns; its mean, or NaN. Lone returns below it (mirror images in
// wet road or car bodies) do not count.
float lowest_layer(const std::vector<Return>& returns, const int32_t* first, const int32_t* last, float low, float high) {
  int count[kMaxSteps] = {};
  float sum[kMaxSteps] = {};
  const int steps = std::min(kMaxSteps, static_cast<int>((high - low) / kStep) + 1);
  int inside = 0;
  for (const int32_t* i = first; i != last; ++i) {
    const float up = returns[*i].z - low;
    if (up < 0.0f || up >= steps * kStep) continue;
    const int step = static_cast<int>(up / kStep);
    ++count[step], sum[step] += returns[*i].z, ++inside;
  }
  if (inside == 0) return NAN;
  const int need = std::max(1, std::min(6, inside / 10));
  const int layer = static_cast<int>(kLayer / kStep);
  for (int s = 0; s < steps; ++s) {
    int n = 0;
    float total = 0.0f;
    for (int k = s; k < std::min(steps, s + layer); ++k) n += count[k], total += sum[k];
    if (n >= need && count[s] > 0) return total / n;
  }
  return NAN;
}

}  // namespace

void Ground::sort_into_cells(const std::vector<Return>& returns) {
  const int cells = kSectors * bins_;
  start_.assign(cells + 1, 0);
  key_.resize(returns.size());
  order_.resize(returns.size());
  for (size_t i = 0; i < returns.size(); ++i) {
    const int sector = std::min(kSectors - 1, static_cast<int>(returns[i].azimuth * (kSectors / kTwoPi)));
    const int bin = std::min(bins_ - 1, static_cast<int>(returns[i].range / kBin));
    key_[i] = sector * bins_ + bin;
    ++start_[key_[i] + 1];
  }
  for (int c = 0; c < cells; ++c) start_[c + 1] += start_[c];
  std::vector<int32_t>& next = start_;
  for (size_t i = 0; i < returns.size(); ++i) order_[next[key_[i]]++] = static_cast<int32_t>(i);
  for (int c = cells; c > 0; --c) start_[c] = start_[c - 1];
  start_[0] = 0;
}

// Most common height of the returns around the vehicle, within `prior` of zero.
float Ground::road_height(const std::vector<Return>& returns, float prior) const {
  constexpr int kBins = 81;
  int count[kBins] = {};
  const float step = 2.0f * prior / kBins;
  for (const Return& r : returns) {
    const float up = r.z + prior;
    if (r.range < 15.0f && up >= 0.0f && up < 2.0f * prior) ++count[std::min(kBins - 1, static_cast<int>(up / step))];
  }
  int best = kBins / 2, most = 0;
  for (int b = 0; b < kBins; ++b) {
    int n = 0;
    for (int k = std::max(0, b - 2); k <= std::min(kBins - 1, b + 2); ++k) n += count[k];
    if (n > most) most = n, best = b;
  }
  return most < 50 ? 0.0f : (best + 0.5f) * step - prior;
}

// From the vehicle outwards: each cell looks for ground where the cells before it lead to expect it.
void Ground::walk_sector(int sector, const std::vector<Return>& returns, float road, float slope) {
  float height = road, incline = 0.0f, from = 0.0f;
  for (int bin = 0; bin < bins_; ++bin) {
    const int cell = sector * bins_ + bin;
    if (start_[cell] == start_[cell + 1]) continue;
    const float here = (bin + 0.5f) * kBin, run = here - from;
    const float expected = height + incline * run;
    const float up = std::min(0.15f + slope * 0.5f * run, 1.0f), down = std::min(0.25f + slope * run, 1.5f);
    const float found = lowest_layer(returns, &order_[start_[cell]], &order_[0] + start_[cell + 1], expected - down,
                                     expected + up);
    if (std::isnan(found)) continue;
    raw_[cell] = found;
    const float trust = std::min(0.6f, 0.3f + 0.1f * run);
    const float next = expected + trust * (found - expected);
    incline = std::clamp(0.8f * incline + 0.2f * (next - height) / std::max(run, 1.0f), -slope, slope);
    height = next, from = here;
  }
}

// visit(cell, x, y) for the middle of each cell, relative to the sensor.
template <typename Visit>
void Ground::for_cells(Visit visit) const {
  for (int sector = 0; sector < kSectors; ++sector) {
    const float azimuth = (sector + 0.5f) * (kTwoPi / kSectors), c = std::cos(azimuth), s = std::sin(azimuth);
    for (int bin = 0; bin < bins_; ++bin) visit(sector * bins_ + bin, c * (bin + 0.5f) * kBin, s * (bin + 0.5f) * kBin);
  }
}

// Plane through the cells within 40 m that know the ground, by least squares that give far-off cells little weight. Smoothing
// the heights above it instead of the heights themselves keeps slopes.
Ground::Plane Ground::fit_plane(float road, float slope) const {
  Plane plane{0.0f, 0.0f, road};
  for (int round = 0; round < 4; ++round) {
    double a[3][4] = {{1e-3, 0, 0, 0}, {0, 1e-3, 0, 0}, {0, 0, 1e-3, 1e-3 * road}};
    for_cells([&](int cell, float x, float y) {
      if (std::isnan(raw_[cell]) || x * x + y * y > 1600.0f) return;
      const float off = std::fabs(raw_[cell] - plane.at(x, y));
      const double w = (off < 0.3f ? 1.0 : 0.09 / (off * off)), v[4] = {x, y, 1.0, raw_[cell]};
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 4; ++j) a[i][j] += w * v[i] * v[j];
      }
    });
    for (int i = 0; i < 3; ++i) {  // Gauss-Jordan; the matrix is positive definite
      for (int k = 0; k < 3; ++k) {
        if (k == i) continue;
        const double f = a[k][i] / a[i][i];
        for (int j = i; j < 4; ++j) a[k][j] -= f * a[i][j];
      }
    }
    const auto part = [&](int i) { return static_cast<float>(a[i][3] / a[i][i]); };
    plane = {std::clamp(part(0), -slope, slope), std::clamp(part(1), -slope, slope), part(2)};
  }
  return plane;
}

// Of the heights above the plane: median over neighbouring sectors, so that a car that fills a whole cell does not lift the ground; then gaps by the
// nearest known cells of the same sector.
void Ground::smooth_and_fill() {
  z_.assign(raw_.size(), NAN);
  constexpr int kSide = 3;
  for (int sector = 0; sector < kSectors; ++sector) {
    int last = -1;
    float height = 0.0f;
    for (int bin = 0; bin < bins_; ++bin) {
      float around[3 * (2 * kSide + 1)];
      int n = 0;
      for (int ds = -kSide; ds <= kSide; ++ds) {
        const int base = (sector + ds + kSectors) % kSectors * bins_;
        for (int db = -1; db <= 1; ++db) {
          const int b = bin + db;
          if (b < 0 || b >= bins_ || std::isnan(raw_[base + b])) continue;
          around[n++] = raw_[base + b];
        }
      }
      if (n < 3) continue;
      const int rank = n * 2 / 5;
      std::nth_element(around, around + rank, around + n);
      const float found = around[rank];
      for (int b = last + 1; b < bin; ++b) {
        z_[sector * bins_ + b] = height + (found - height) * (b - last) / static_cast<float>(bin - last);
      }
      z_[sector * bins_ + bin] = height = found, last = bin;
    }
    for (int b = last + 1; b < bins_; ++b) z_[sector * bins_ + b] = height;
  }
}

void Ground::estimate(std::vector<Return>& returns, const PerceptClusterConfig& config) {
  bins_ = static_cast<int>(config.max_range_m / kBin) + 2;
  sort_into_cells(returns);
  const float road = road_height(returns, config.ground_prior_m);
  raw_.assign(static_cast<size_t>(kSectors) * bins_, NAN);
  for (int sector = 0; sector < kSectors; ++sector) walk_sector(sector, returns, road, config.ground_slope);
  const Plane plane = fit_plane(road, config.ground_slope);
  for_cells([&](int cell, float x, float y) { raw_[cell] -= plane.at(x, y); });
  smooth_and_fill();
  for_cells([&](int cell, float x, float y) { z_[cell] += plane.at(x, y); });
  for (Return& r : returns) r.height = r.z - at(r.range, r.azimuth);
}

float Ground::at(float range, float azimuth) const {
  const int sector = std::min(kSectors - 1, static_cast<int>(azimuth * (kSectors / kTwoPi)));
  const float along = std::clamp(range / kBin - 0.5f, 0.0f, static_cast<float>(bins_ - 1) - 0.001f);
  const int bin = static_cast<int>(along);
  const float* row = &z_[static_cast<size_t>(sector) * bins_];
  return row[bin] + (along - bin) * (row[bin + 1 < bins_ ? bin + 1 : bin] - row[bin]);
}

}  // namespace percept
