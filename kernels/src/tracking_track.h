// One track and its filters: planar motion (turn rate and acceleration, or constant velocity), height, size.
#pragma once
#include <cstdint>
#include <cstring>

#include "tracking_geometry.h"

namespace percept::tracking {

constexpr int kClasses = 8;

// Order is that of CLASS_PARAMETERS in percept_ros/core/tracking_parameters.py.
struct ClassParameters {
  double motion;             // 0 constant turn rate and acceleration, 1 constant velocity
  double group;              // only equal groups associate; 0 goes with all
  double accel, turn;        // noise of velocity, m/s^2; of turn rate, rad/s^1.5
  double jerk, accel_tau_s;  // noise of acceleration, m/s^2.5, and its decay
  double turn_tau_s, slip;   // decay of turn rate; position noise m/s^0.5
  double yaw_walk;           // rad/s^0.5
  double position_m, position_per_m;  // one-sigma of a measured centre: at range 0, a metre of range
  double tangent;            // ratio of tangential to radial one-sigma
  double weak;               // factor on one-sigma at score 0 (1 at score 1)
  double yaw_rad, yaw_per_m, height_m, size_m;
  double height_walk, size_walk;
  double speed_mps;          // one-sigma of the speed of a new track
  double gate_mahalanobis2, gate_centre_m, gate_giou, gate_giou_weak;
  double high_score, birth_score;
  double confirm, publish, publish_coast, forget;  // existence thresholds
  double max_coast_s, max_lidar_coast_s, min_hits, duplicate_iou, camera_iou, camera_sigma_px;
  double publish_faint, faint_mean;                // tracks never yet certain are shown from publish_faint on
  double camera_birth;                             // camera boxes of this score give birth to tracks (over 1: never)
  double camera_height_m, camera_depth;            // height that a camera box of this class shows; one-sigma of depth, a metre
  double usual_length_m, usual_width_m, usual_height_m;
};

struct Track {
  int64_t number;
  uint8_t id[16];
  int cls;
  double probs[kClasses];
  double x[6];   // turn model: x, y, yaw, v, turn rate, acceleration; velocity model: x, y, vx, vy
  double P[36];
  double yaw, yaw_var;  // velocity model only
  double z, z_var, size[3], size_var;
  double flip;          // votes for the present heading (negative: it is backwards)
  int64_t birth_ns, measured_ns, lidar_ns;
  int64_t usual_ns;  // when the usual detector measured it last, 0 = never
  int64_t vague_ns;  // when a weaker one was the last to look for it, 0 = never
  bool vague;        // the usual one has not found it since
  uint32_t sensors;
  bool confirmed, hit, camera_hit, in_view;
  double existence, shown_sum;
  int shown;
  // evidence, see tracking_existence.h
  int frames, hits, camera_frames, camera_hits;
  double score, score_sum, score_max, score_recent, hit_recent;
  double camera_score, camera_recent, innovation;
  double range_m, pixel_height, visible, occluded, shadowed;
  double camera_overlap, border, yaw_jitter, size_jitter;
  double camera_scale, camera_score_sum;
  int64_t camera_ns;
  Pixels pixels;
  bool projected;
};

inline void scalarUpdate(double* x, double* P, const double* h, double residual, double variance) {
  double g[6], s = variance;
  for (int i = 0; i < 6; ++i) {
    g[i] = 0;
    for (int j = 0; j < 6; ++j) g[i] += P[i * 6 + j] * h[j];
  }
  for (int i = 0; i < 6; ++i) s += h[i] * g[i];
  const double inv = 1.0 / s;
  for (int i = 0; i < 6; ++i) {
    x[i] += g[i] * residual * inv;
    for (int j = 0; j < 6; ++j) P[i * 6 + j] -= g[i] * g[j] * inv;
  }
}

inline bool turning(const ClassParameters& c) { return c.motion < 0.5; }

inline double heading(const Track& t, const ClassParameters& c) { return turning(c) ? t.x[2] : t.yaw; }

inline void velocity(const Track& t, const ClassParameters& c, double* v) {
  if (turning(c)) {
    v[0] = t.x[3] * std::cos(t.x[2]);
    v[1] = t.x[3] * std::sin(t.x[2]);
  } else {
    v[0] = t.x[2];
    v[1] = t.x[3];
  }
}

inline void boxOf(const Track& t, const ClassParameters& c, double* b) {
  b[0] = t.x[0];
  b[1] = t.x[1];
  b[2] = t.z;
  b[3] = t.size[0];
  b[4] = t.size[1];
  b[5] = t.size[2];
  b[6] = wrap(heading(t, c));
}

inline void propagate(double* P, const double* F) {
  double A[36];
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 6; ++j) {
      double s = 0;
      for (int k = 0; k < 6; ++k) s += F[i * 6 + k] * P[k * 6 + j];
      A[i * 6 + j] = s;
    }
  for (int i = 0; i < 6; ++i)
    for (int j = i; j < 6; ++j) {
      double s = 0;
      for (int k = 0; k < 6; ++k) s += A[i * 6 + k] * F[j * 6 + k];
      P[i * 6 + j] = P[j * 6 + i] = s;
    }
}

inline void predictTurning(Track& t, const ClassParameters& c, double dt) {
  double* x = t.x;
  const double fade = std::exp(-dt / c.accel_tau_s), straighten = std::exp(-dt / c.turn_tau_s);
  const double d = x[3] * dt + 0.5 * x[5] * dt * dt, mid = x[2] + 0.5 * x[4] * dt;
  const double cm = std::cos(mid), sm = std::sin(mid);
  double F[36] = {0};
  for (int i = 0; i < 6; ++i) F[i * 7] = 1;
  F[2] = -d * sm, F[3] = dt * cm, F[4] = -0.5 * d * dt * sm, F[5] = 0.5 * dt * dt * cm;
  F[8] = d * cm, F[9] = dt * sm, F[10] = 0.5 * d * dt * cm, F[11] = 0.5 * dt * dt * sm;
  F[16] = dt;
  F[23] = dt;
  F[28] = straighten;
  F[35] = fade;
  x[0] += d * cm;
  x[1] += d * sm;
  x[2] = wrap(x[2] + x[4] * dt);
  x[3] += x[5] * dt;
  x[4] = std::clamp(x[4] * straighten, -1.5, 1.5);
  x[5] = std::clamp(x[5] * fade, -10.0, 10.0);
  propagate(t.P, F);
  const double slip = c.slip * c.slip * dt, a2 = c.accel * c.accel;
  const double along = a2 * dt * dt * dt / 3, cross = a2 * dt * dt / 2;
  t.P[0] += slip + along * cm * cm;
  t.P[7] += slip + along * sm * sm;
  t.P[1] += along * cm * sm, t.P[6] += along * cm * sm;
  t.P[3] += cross * cm, t.P[18] += cross * cm;
  t.P[9] += cross * sm, t.P[19] += cross * sm;
  t.P[14] += c.yaw_walk * c.yaw_walk * dt;
  t.P[21] += a2 * dt;
  t.P[28] += c.turn * c.turn * dt;
  t.P[35] += c.jerk * c.jerk * dt;
}

inline void predictStraight(Track& t, const ClassParameters& c, double dt) {
  double F[36] = {0};
  for (int i = 0; i < 6; ++i) F[i * 7] = 1;
  F[2] = F[9] = dt;
  t.x[0] += t.x[2] * dt;
  t.x[1] += t.x[3] * dt;
  propagate(t.P, F);
  const double a2 = c.accel * c.accel;
  for (int i = 0; i < 2; ++i) {
    t.P[i * 7] += a2 * dt * dt * dt / 3 + c.slip * c.slip * dt;
    t.P[i * 6 + i + 2] += a2 * dt * dt / 2;
    t.P[(i + 2) * 6 + i] += a2 * dt * dt / 2;
    t.P[(i + 2) * 7] += a2 * dt;
  }
  t.yaw_var = std::min(t.yaw_var + c.yaw_walk * c.yaw_walk * dt, 10.0);
}

inline void predict(Track& t, const ClassParameters& c, double dt) {
  if (turning(c)) predictTurning(t, c, dt);
  else predictStraight(t, c, dt);
  t.z_var += c.height_walk * c.height_walk * dt;
  t.size_var += c.size_walk * c.size_walk * dt;
}

// A measured box in the fixed frame with the noise that its range and score give it.
struct Measurement {
  double box[7];
  double velocity[2];
  bool has_velocity;
  double radial[2];           // unit vector from the vehicle
  double radial_var, tangent_var, yaw_var, height_var, size_var, range_m;
};

inline Measurement measurement(const double* box, const double* vel, double score, const double* ego, const ClassParameters& c) {
  Measurement m;
  std::memcpy(m.box, box, sizeof m.box);
  std::memcpy(m.velocity, vel, sizeof m.velocity);
  m.has_velocity = std::isfinite(vel[0]) && std::isfinite(vel[1]);
  const double dx = box[0] - ego[0], dy = box[1] - ego[1];
  m.range_m = std::hypot(dx, dy);
  m.radial[0] = m.range_m > 1e-6 ? dx / m.range_m : 1;
  m.radial[1] = m.range_m > 1e-6 ? dy / m.range_m : 0;
  const double weak = 1 + (c.weak - 1) * (1 - std::clamp(score, 0.0, 1.0));
  const double sigma = weak * (c.position_m + c.position_per_m * m.range_m), yaw = weak * (c.yaw_rad + c.yaw_per_m * m.range_m);
  m.radial_var = sigma * sigma;
  m.tangent_var = sigma * sigma * c.tangent * c.tangent;
  m.yaw_var = yaw * yaw;
  m.height_var = weak * c.height_m * weak * c.height_m;
  m.size_var = weak * c.size_m * weak * c.size_m;
  return m;
}

// Squared Mahalanobis distance of the centre on the ground plane (2 degrees of freedom).
inline double mahalanobis2(const Track& t, const Measurement& m) {
  const double ux = m.radial[0], uy = m.radial[1], r = m.radial_var, q = m.tangent_var;
  const double a = t.P[0] + r * ux * ux + q * uy * uy, b = t.P[1] + (r - q) * ux * uy, d = t.P[7] + r * uy * uy + q * ux * ux;
  const double ex = m.box[0] - t.x[0], ey = m.box[1] - t.x[1];
  return (d * ex * ex - 2 * b * ex * ey + a * ey * ey) / (a * d - b * b);
}

inline double innovationDeterminant(const Track& t, const Measurement& m) {
  const double ux = m.radial[0], uy = m.radial[1], r = m.radial_var, q = m.tangent_var;
  const double a = t.P[0] + r * ux * ux + q * uy * uy, b = t.P[1] + (r - q) * ux * uy, d = t.P[7] + r * uy * uy + q * ux * ux;
  return a * d - b * b;
}

inline void turnAround(Track& t) {
  t.x[2] = wrap(t.x[2] + kPi);
  for (int k : {3, 5}) {
    t.x[k] = -t.x[k];
    for (int j = 0; j < 6; ++j) t.P[k * 6 + j] = -t.P[k * 6 + j], t.P[j * 6 + k] = -t.P[j * 6 + k];
  }
  t.flip = std::fabs(t.flip);
}

inline double foldedYaw(double measured, double now, bool& folded) {
  double e = wrap(measured - now);
  folded = std::fabs(e) > kPi / 2;
  return folded ? (e > 0 ? e - kPi : e + kPi) : e;
}

inline void updateYaw(Track& t, const ClassParameters& c, const Measurement& m) {
  bool folded = false;
  const double e = foldedYaw(m.box[6], heading(t, c), folded);
  t.yaw_jitter += 0.3 * (std::fabs(e) - t.yaw_jitter);
  t.flip = std::clamp(0.9 * t.flip + (folded ? -0.1 : 0.1), -1.0, 1.0);
  if (turning(c)) {
    const double h[6] = {0, 0, 1, 0, 0, 0};
    scalarUpdate(t.x, t.P, h, e, m.yaw_var);
    t.x[2] = wrap(t.x[2]);
    const bool backwards = t.x[3] < -2.0 && t.x[3] * t.x[3] > 9 * t.P[21];
    if (backwards || (t.flip < -0.05 && t.x[3] < 1.0)) turnAround(t);
    return;
  }
  const double gain = t.yaw_var / (t.yaw_var + m.yaw_var);
  t.yaw = wrap(t.yaw + gain * e + (t.flip < -0.05 ? kPi : 0.0));
  t.flip = std::fabs(t.flip);
  t.yaw_var *= 1 - gain;
}

inline void updateVelocity(Track& t, const ClassParameters& c, const Measurement& m) {
  const double var = 1.0 + 25 * m.radial_var;
  if (turning(c)) {
    const double h[6] = {0, 0, 0, 1, 0, 0};
    scalarUpdate(t.x, t.P, h, m.velocity[0] * std::cos(t.x[2]) + m.velocity[1] * std::sin(t.x[2]) - t.x[3], var);
    return;
  }
  for (int i = 0; i < 2; ++i) {
    double h[6] = {0};
    h[2 + i] = 1;
    scalarUpdate(t.x, t.P, h, m.velocity[i] - t.x[2 + i], var);
  }
}

inline void update(Track& t, const ClassParameters& c, const Measurement& m) {
  const double ux = m.radial[0], uy = m.radial[1];
  const double radial[6] = {ux, uy, 0, 0, 0, 0}, tangent[6] = {-uy, ux, 0, 0, 0, 0};
  scalarUpdate(t.x, t.P, radial, ux * (m.box[0] - t.x[0]) + uy * (m.box[1] - t.x[1]), m.radial_var);
  scalarUpdate(t.x, t.P, tangent, -uy * (m.box[0] - t.x[0]) + ux * (m.box[1] - t.x[1]), m.tangent_var);
  updateYaw(t, c, m);
  if (m.has_velocity) updateVelocity(t, c, m);
  const double gz = t.z_var / (t.z_var + m.height_var), gs = t.size_var / (t.size_var + m.size_var);
  t.z += gz * (m.box[2] - t.z);
  t.z_var *= 1 - gz;
  double change = 0;
  for (int i = 0; i < 3; ++i) change += std::fabs(m.box[3 + i] - t.size[i]);
  t.size_jitter += 0.3 * (change - t.size_jitter);
  for (int i = 0; i < 3; ++i) t.size[i] += gs * (m.box[3 + i] - t.size[i]);
  t.size_var *= 1 - gs;
}

inline void start(Track& t, const ClassParameters& c, const Measurement& m) {
  std::memset(t.x, 0, sizeof t.x);
  std::memset(t.P, 0, sizeof t.P);
  const double ux = m.radial[0], uy = m.radial[1], r = m.radial_var, q = m.tangent_var;
  t.x[0] = m.box[0];
  t.x[1] = m.box[1];
  t.P[0] = r * ux * ux + q * uy * uy;
  t.P[7] = r * uy * uy + q * ux * ux;
  t.P[1] = t.P[6] = (r - q) * ux * uy;
  const double speed2 = c.speed_mps * c.speed_mps;
  t.yaw = m.box[6];
  t.yaw_var = m.yaw_var;
  if (turning(c)) {
    t.x[2] = m.box[6];
    t.P[14] = m.yaw_var;
    t.P[21] = speed2;
    t.P[28] = 0.04;
    t.P[35] = 1.0;
  } else {
    t.P[14] = t.P[21] = speed2;
    t.P[28] = t.P[35] = 1.0;
  }
  if (m.has_velocity) updateVelocity(t, c, m);
  t.z = m.box[2];
  t.z_var = m.height_var;
  std::memcpy(t.size, m.box + 3, sizeof t.size);
  t.size_var = m.size_var;
  t.flip = 0.2;
}

}  // namespace percept::tracking
