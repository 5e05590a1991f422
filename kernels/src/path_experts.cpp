#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../percept_paths.h"

namespace {

constexpr int64_t kMost = 1 << 24;
constexpr int64_t kMostWidth = 1 << 12;
constexpr int64_t kMostExperts = 64;
constexpr double kYoung = 5.0;  // core/path_gate.py, YOUNG
constexpr int64_t kMeanSpan = 5;

// Position noise from the median size of the second differences that were really seen (core/path_features.py, jitter).
double noise_of(const float *x, const float *y, int64_t width, int64_t age, std::vector<float> &sizes) {
  const int64_t known = std::clamp<int64_t>(age - 2, 0, width - 2);
  if (known == 0) return 0.0;
  for (int64_t i = 0; i < known; ++i) {
    const int64_t k = width - 2 - known + i;
    const float dx = x[k + 2] - 2.0f * x[k + 1] + x[k], dy = y[k + 2] - 2.0f * y[k + 1] + y[k];
    sizes[i] = std::sqrt(dx * dx + dy * dy);
  }
  const auto middle = sizes.begin() + (known - 1) / 2;
  std::nth_element(sizes.begin(), middle, sizes.begin() + known);
  return static_cast<double>(*middle) / (std::sqrt(20.0) * 1.1774);
}

double mean_step(const float *x, const float *y, int64_t width) {
  const int64_t used = std::min(width, kMeanSpan);
  float east = 0.0f, north = 0.0f;
  for (int64_t k = width - used; k < width; ++k) east += x[k], north += y[k];
  return std::hypot(east / static_cast<float>(used), north / static_cast<float>(used));
}

// 1 inside the limits, 0 from three times (or a third of) their ends.
double familiar_share(double noise, double step, double age, const double *limits, int64_t kinds, int64_t group) {
  const double least = limits[group], most = limits[kinds + group], farthest = limits[2 * kinds + group];
  const double over = std::max(noise / most, step / farthest);
  const double under = age >= kYoung ? least / std::max(noise, 1e-9) : 0.0;
  return std::clamp((3.0 - std::max(over, under)) / 2.0, 0.0, 1.0);
}

// Offset after t seconds at constant turn rate and speed.
void turned(const double *velocity, double rate, double t, double *out) {
  const double half = 0.5 * rate * t, length = std::fabs(half) > 1e-9 ? t * std::sin(half) / half : t;
  const double c = std::cos(half), s = std::sin(half);
  out[0] = length * (velocity[0] * c - velocity[1] * s);
  out[1] = length * (velocity[0] * s + velocity[1] * c);
}

// Mean displacement over the newest `span` of the `known` displacements, m/s.
void straight_on(const float *x, const float *y, int64_t width, int64_t known, const int64_t *spans, int64_t count,
                 double step_s, double *out, int64_t stride) {
  for (int64_t e = 0; e < count; ++e) {
    const int64_t used = std::min(spans[e], known);
    double east = 0.0, north = 0.0;
    for (int64_t k = width - 1; k >= width - used; --k) east += x[k], north += y[k];
    out[e * stride] = east / static_cast<double>(used) / step_s;
    out[e * stride + 1] = north / static_cast<double>(used) / step_s;
  }
}

bool good_groups(const int64_t *groups, int64_t count, int64_t kinds) {
  return std::all_of(groups, groups + count, [kinds](int64_t g) { return g >= 0 && g < kinds; });
}

}  // namespace

int32_t percept_path_experts(const float *window, const float *age, const int64_t *groups, const double *here,
                             const double *velocity, const double *turn_radps, const float *learned_at,
                             const double *times, const int64_t *spans, const double *limits, int64_t tracks,
                             int64_t width, int64_t marks, int64_t count, int64_t kinds, double step_s, double *straight,
                             double *said, double *familiar) {
  if (tracks < 0 || tracks > kMost || width < 3 || width > kMostWidth) return -2;
  if (marks < 1 || marks > kMostExperts || count < 1 || count > kMostExperts || kinds < 1) return -2;
  if (!(step_s > 0.0)) return -3;
  if (tracks == 0) return 0;
  if (!window || !age || !groups || !here || !velocity || !turn_radps || !learned_at || !times || !spans || !limits) return -1;
  if (!straight || !said || !familiar) return -1;
  if (!good_groups(groups, tracks, kinds)) return -4;
  if (std::any_of(spans, spans + count, [](int64_t s) { return s < 1; })) return -4;
  std::vector<float> sizes(static_cast<size_t>(width));
  const int64_t stride = 2 * tracks, experts = count + 2;
  for (int64_t n = 0; n < tracks; ++n) {
    const float *x = window + 2 * width * n, *y = x + width;
    const int64_t seen = age[n] >= 1.0f ? static_cast<int64_t>(std::min(age[n], 1e9f)) : 0;
    const int64_t known = std::clamp<int64_t>(seen, 1, width);
    double *mine = straight + 2 * n;
    straight_on(x, y, width, known, spans, count, step_s, mine, stride);
    mine[count * stride] = velocity[2 * n], mine[count * stride + 1] = velocity[2 * n + 1];
    familiar[n] = familiar_share(noise_of(x, y, width, seen, sizes), mean_step(x, y, width), age[n], limits, kinds, groups[n]);
    for (int64_t m = 0; m < marks; ++m) {
      double *out = said + (m * experts * tracks + n) * 2;
      const float *network = learned_at + (n * marks + m) * 2;
      out[0] = here[7 * n] + network[0], out[1] = here[7 * n + 1] + network[1];
      for (int64_t e = 0; e < count; ++e) {
        out[(e + 1) * stride] = here[7 * n] + mine[e * stride] * times[m];
        out[(e + 1) * stride + 1] = here[7 * n + 1] + mine[e * stride + 1] * times[m];
      }
      double way[2];
      turned(velocity + 2 * n, turn_radps[n], times[m], way);
      out[(count + 1) * stride] = here[7 * n] + way[0], out[(count + 1) * stride + 1] = here[7 * n + 1] + way[1];
    }
  }
  return 0;
}

int32_t percept_path_judge(const uint64_t *keys, const int64_t *groups, const double *said, int64_t promised,
                           const uint64_t *sorted, const int64_t *order, int64_t present, const double *position,
                           int64_t stride, int64_t rows, const int64_t *usual, int64_t experts, int64_t kinds, double memory,
                           double *count, double *sums, double *over, double *squares) {
  if (promised < 0 || present < 0 || rows < 0 || promised > kMost || present > kMost || stride < 2) return -2;
  if (experts < 1 || experts > kMostExperts || kinds < 1 || kinds > kMostWidth || !(memory > 0.0)) return -2;
  if (promised == 0 || present == 0) return 0;
  if (!keys || !groups || !said || !sorted || !order || !position || !usual || !count || !sums || !over || !squares) return -1;
  if (!good_groups(groups, promised, kinds) || !good_groups(usual, kinds, experts)) return -4;
  if (!good_groups(order, present, rows)) return -4;
  std::vector<double> seen(static_cast<size_t>(kinds), 0.0), mine(static_cast<size_t>(3 * experts * kinds), 0.0);
  std::vector<double> here(static_cast<size_t>(2 * promised)), errors(static_cast<size_t>(experts * promised));
  double *const more[3] = {mine.data(), mine.data() + experts * kinds, mine.data() + 2 * experts * kinds};
  for (int64_t n = 0; n < promised; ++n) {
    const uint64_t *found = std::lower_bound(sorted, sorted + present, keys[n]);
    const bool gone = found == sorted + present || *found != keys[n];
    const double *at = gone ? nullptr : position + stride * order[found - sorted];
    here[2 * n] = gone ? std::numeric_limits<double>::quiet_NaN() : at[0];
    here[2 * n + 1] = gone ? std::numeric_limits<double>::quiet_NaN() : at[1];
  }
  for (int64_t e = 0; e < experts; ++e) {
    for (int64_t n = 0; n < promised; ++n) {
      const double *point = said + 2 * (e * promised + n);
      const double dx = point[0] - here[2 * n], dy = point[1] - here[2 * n + 1];
      errors[e * promised + n] = std::sqrt(dx * dx + dy * dy);
    }
  }
  for (int64_t n = 0; n < promised; ++n) {
    double sum = 0.0;  // finite when all are
    for (int64_t e = 0; e < experts; ++e) sum += errors[e * promised + n];
    if (!std::isfinite(sum)) continue;
    const int64_t group = groups[n];
    const double base = errors[usual[group] * promised + n];
    seen[group] += 1.0;
    for (int64_t e = 0; e < experts; ++e) {
      const double error = errors[e * promised + n], above = error - base;
      more[0][e * kinds + group] += error;
      more[1][e * kinds + group] += above;
      more[2][e * kinds + group] += above * above;
    }
  }
  for (int64_t g = 0; g < kinds; ++g) {
    const double keep = std::exp(-seen[g] / memory);
    count[g] = keep * count[g] + seen[g];
    for (int64_t i = g; i < experts * kinds; i += kinds) {
      sums[i] = keep * sums[i] + more[0][i];
      over[i] = keep * over[i] + more[1][i];
      squares[i] = keep * squares[i] + more[2][i];
    }
  }
  return 0;
}

int32_t percept_path_spread(const float *sigma, const double *share, const double *position, const double *speed,
                            const double *times, int64_t tracks, int64_t steps, int64_t stride, double least_m,
                            double *spread) {
  if (tracks < 0 || tracks > kMost || steps < 1 || steps > (1 << 16) || stride < steps) return -2;
  if (tracks == 0) return 0;
  if (!sigma || !share || !position || !speed || !times || !spread) return -1;
  for (int64_t n = 0; n < tracks; ++n) {
    double *out = spread + steps * n;
    if (share[n] >= 0.5) {
      const float *mine = sigma + stride * n;
      for (int64_t t = 0; t < steps; ++t) out[t] = std::max(static_cast<double>(mine[t]), least_m);
    } else {
      for (int64_t t = 0; t < steps; ++t) out[t] = std::sqrt(position[n] + speed[n] * times[t] * times[t]);
    }
  }
  return 0;
}
