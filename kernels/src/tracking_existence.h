// Probability that a track is a real object: learned from causal evidence, or a Bayes update where nothing was learned.
#pragma once
#include <vector>

#include "tracking_track.h"

namespace percept::tracking {

// Order is that of FEATURES in percept_ros/core/existence.py.
constexpr int kFeatures = 37;

inline double logit(double p) {
  p = std::clamp(p, 1e-9, 1 - 1e-9);
  return std::log(p / (1 - p));
}

inline double sigmoid(double a) { return 1 / (1 + std::exp(-a)); }

inline void features(const Track& t, const ClassParameters& c, int64_t now_ns, double* f) {
  double v[2];
  velocity(t, c, v);
  const double frames = std::max(1, t.frames);
  const double coast = 1e-9 * static_cast<double>(now_ns - t.lidar_ns);
  f[0] = t.hit;
  f[1] = t.hit ? t.score : 0;
  f[2] = t.score_sum / std::max(1, t.hits);
  f[3] = t.score_max;
  f[4] = t.score_recent;
  f[5] = t.hits / frames;
  f[6] = t.hit_recent;
  f[7] = std::log1p(frames);
  f[8] = std::min(coast, 5.0);
  f[9] = t.camera_hit;
  f[10] = t.camera_hit ? t.camera_score : 0;
  f[11] = t.camera_recent;
  f[12] = t.camera_frames ? static_cast<double>(t.camera_hits) / t.camera_frames : 0;
  f[13] = std::log(std::max(1.0, t.range_m));
  f[14] = t.projected ? std::log(std::max(1.0, t.pixel_height)) : 0;
  f[15] = t.occluded;
  f[16] = t.visible;
  f[17] = t.shadowed;
  f[18] = std::min(t.innovation, 10.0);
  f[19] = std::min(std::hypot(v[0], v[1]), 30.0);
  f[20] = std::log1p(t.hits);
  f[21] = t.in_view;
  f[22] = std::log(std::max(1e-6, t.P[0] + t.P[7]));
  f[23] = t.size[0] * t.size[1] * t.size[2];
  f[24] = std::clamp(f[19] - 2.5, 0.0, 3.0);
  f[25] = t.camera_hit ? 0 : f[8];
  f[26] = f[8] * f[15];
  f[27] = f[2] * f[13];
  f[28] = f[8] * f[5];
  f[29] = t.camera_overlap;
  f[30] = t.border;
  f[31] = t.yaw_jitter;
  f[32] = t.size_jitter;
  f[33] = t.hits == 0;
  f[34] = std::clamp(t.camera_scale, -1.0, 1.0);
  f[35] = std::fabs(f[34]);
  f[36] = t.camera_hits ? t.camera_score_sum / t.camera_hits : 0;
}

// Standardise, one hidden layer of tanh units (none: logistic regression), sigmoid.
class ExistenceModel {
 public:
  // Blob: offsets[8 classes x 2 (without, with camera)] (-1 none), then blocks: H, mean, scale, weights.
  bool load(const double* data, int64_t n) {
    data_.assign(data, data + n);
    if (n < 2 * kClasses) return false;
    for (int i = 0; i < 2 * kClasses; ++i) {
      const double at = data_[i];
      if (at < 0) continue;
      if (at < 2 * kClasses || at >= n) return false;
      const double hidden = data_[static_cast<size_t>(at)];
      if (hidden < 0 || hidden > 256) return false;
      const int h = static_cast<int>(hidden);
      const int64_t need = 1 + 2 * kFeatures + (h ? h * (kFeatures + 2) + 1 : kFeatures + 1);
      if (at + need > n) return false;
    }
    return true;
  }

  bool knows(int cls, bool camera) const { return !data_.empty() && data_[2 * cls + camera] >= 0; }

  double probability(int cls, bool camera, const double* f) const {
    const double* p = data_.data() + static_cast<size_t>(data_[2 * cls + camera]);
    const int h = static_cast<int>(*p++);
    double z[kFeatures];
    for (int i = 0; i < kFeatures; ++i) z[i] = (f[i] - p[i]) / p[kFeatures + i];
    p += 2 * kFeatures;
    if (h == 0) return sigmoid(dot(p, z) + p[kFeatures]);
    const double *w = p, *b = p + h * kFeatures, *out = b + h;
    double a = out[h];
    for (int k = 0; k < h; ++k) a += out[k] * std::tanh(dot(w + k * kFeatures, z) + b[k]);
    return sigmoid(a);
  }

 private:
  static double dot(const double* w, const double* z) {
    double s = 0;
    for (int i = 0; i < kFeatures; ++i) s += w[i] * z[i];
    return s;
  }

  std::vector<double> data_;
};

}  // namespace percept::tracking
