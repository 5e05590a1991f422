// Camera half of a frame, existence, life cycle and publication.
#include <numeric>

#include "tracking_tracker.h"

namespace percept::tracking {

namespace {

constexpr double kBorder = 3.0;       // pixels: a camera box this near to the border may be cut
constexpr double kDeepest = 120.0;    // metres
constexpr int64_t kSoughtNs = 500'000'000;
constexpr double kExplained = 0.3;    // overlap with a track's projection that explains a camera box
constexpr double kSameGuess = 2.0;    // looks at one object share the error of its depth: each counts less

}  // namespace

// A weaker detector sees less: its misses are no evidence, and what was learned of the usual one's answers says nothing of its hits.
void Tracker::countEvidence(const PerceptTrackingFrame& f, double dt) {
  const double slow = 1 - std::exp(-std::max(dt, 0.02) / 0.5);
  for (Track& t : tracks_) {
    if (f.measured == kWeaker && (!t.hit || t.usual_ns)) continue;
    t.frames += 1;
    t.hit_recent += slow * ((t.hit ? 1.0 : 0.0) - t.hit_recent);
    if (!t.hit) continue;
    t.hits += 1;
    t.score_sum += t.score;
    t.score_max = std::max(t.score_max, t.score);
    t.score_recent += slow * (t.score - t.score_recent);
  }
}

void Tracker::projectAll(const PerceptTrackingFrame& f, int camera) {
  const double *T = f.fixed_SE3_base, *Q = f.projections + 12 * camera;
  double M[12];  // pixels from the fixed frame: Q * inverse(T)
  for (int r = 0; r < 3; ++r) {
    double shift = Q[4 * r + 3];
    for (int k = 0; k < 3; ++k) {
      M[4 * r + k] = Q[4 * r] * T[4 * k] + Q[4 * r + 1] * T[4 * k + 1] + Q[4 * r + 2] * T[4 * k + 2];
      shift -= M[4 * r + k] * T[4 * k + 3];
    }
    M[4 * r + 3] = shift;
  }
  fixed_projection_.assign(M, M + 12);
  const double w = f.image_size[2 * camera], h = f.image_size[2 * camera + 1];
  pixels_.resize(tracks_.size());
  nearness_.resize(tracks_.size());
  seen_.assign(tracks_.size(), 0);
  for (size_t i = 0; i < tracks_.size(); ++i) {
    Track& t = tracks_[i];
    double box[7];
    boxOf(t, of(t), box);
    Pixels full;
    if (!project(box, M, full)) continue;
    Pixels& p = pixels_[i];
    p = {std::clamp(full.x1, 0.0, w - 1), std::clamp(full.y1, 0.0, h - 1), std::clamp(full.x2, 0.0, w - 1), std::clamp(full.y2, 0.0, h - 1)};
    if (p.area() <= 0) continue;
    seen_[i] = 1;
    nearness_[i] = M[8] * box[0] + M[9] * box[1] + M[10] * box[2] + M[11];
    const double share = p.area() / std::max(1e-9, full.area());
    if (t.in_view && share <= t.visible) continue;
    t.in_view = t.projected = true;
    t.visible = share;
    t.pixel_height = p.y2 - p.y1;
    t.pixels = p;
    t.border = std::min(1.0, std::min(p.x1 + p.x2, 2 * (w - 1) - p.x1 - p.x2) / w);
  }
}

void Tracker::occlude(int camera) {
  (void)camera;
  list_.clear();
  for (size_t i = 0; i < tracks_.size(); ++i)
    if (seen_[i]) list_.push_back(static_cast<int>(i));
  std::sort(list_.begin(), list_.end(), [&](int a, int b) { return pixels_[a].x1 < pixels_[b].x1 || (pixels_[a].x1 == pixels_[b].x1 && a < b); });
  const auto hide = [&](int behind, int front) {
    Track& t = tracks_[behind];
    if (tracks_[front].existence < 0.3 || nearness_[front] > nearness_[behind] - 1.0) return;
    t.occluded = std::max(t.occluded, common(pixels_[behind], pixels_[front]) / pixels_[behind].area());
  };
  for (size_t a = 0; a < list_.size(); ++a)
    for (size_t b = a + 1; b < list_.size() && pixels_[list_[b]].x1 < pixels_[list_[a]].x2; ++b) {
      hide(list_[a], list_[b]);
      hide(list_[b], list_[a]);
    }
}

void Tracker::steer(Track& t, const double* M, const double* b) {
  const double sigma = of(t).camera_sigma_px;
  if (sigma <= 0 || t.hit) return;
  const double x = t.x[0], y = t.x[1], z = t.z;
  const double d = M[8] * x + M[9] * y + M[10] * z + M[11];
  if (d < 1) return;
  const double u = (M[0] * x + M[1] * y + M[2] * z + M[3]) / d;
  const double h[6] = {(M[0] - u * M[8]) / d, (M[1] - u * M[9]) / d, 0, 0, 0, 0};
  scalarUpdate(t.x, t.P, h, (b[0] + b[2]) / 2 - u, sigma * sigma);
}

void Tracker::matchCamera(const PerceptTrackingFrame& f, int camera) {
  const int64_t from = f.camera_offsets[camera], to = f.camera_offsets[camera + 1];
  pairs_.clear();
  for (size_t i = 0; i < tracks_.size(); ++i) {
    if (!seen_[i]) continue;
    const Track& t = tracks_[i];
    const double group = of(t).group, area = pixels_[i].area();
    for (int64_t k = from; k < to; ++k) {
      const int64_t cls = f.classes2d[k];
      if (cls < 0 || cls >= kClasses) continue;
      const double other = p_.c[cls].group;
      if (other != group && other != 0 && group != 0) continue;
      const double* b = f.boxes2d + 4 * k;
      const Pixels q{b[0], b[1], b[2], b[3]};
      const double shared = common(pixels_[i], q);
      if (shared <= 0) continue;
      const double iou = shared / (area + q.area() - shared);
      tracks_[i].camera_overlap = std::max(tracks_[i].camera_overlap, iou);
      if (iou < of(t).camera_iou) continue;
      pairs_.push_back({static_cast<int>(i), static_cast<int>(k - from), 1 - iou + 0.3 * (1 - t.existence)});
    }
  }
  assignment_.sparse(pairs_, static_cast<int>(tracks_.size()), static_cast<int>(to - from), matched_);
  for (size_t i = 0; i < tracks_.size(); ++i) {
    if (matched_[i] < 0) continue;
    Track& t = tracks_[i];
    const int64_t k = from + matched_[i];
    t.camera_hit = true;
    t.camera_score = std::clamp(f.scores2d[k], 0.0, 1.0);
    t.sensors = (t.hit ? t.sensors : (t.measured_ns == f.stamp_ns ? t.sensors : 0u)) | f.camera_bits[camera];
    t.measured_ns = f.stamp_ns;
    t.camera_ns = f.stamp_ns;
    follow(t, f, camera, f.boxes2d + 4 * k, pixels_[i]);
  }
  noteSightings(f, camera);
}

// A matched camera box: how its height compares, and where a track goes that only cameras see.
void Tracker::follow(Track& t, const PerceptTrackingFrame& f, int camera, const double* b, const Pixels& seen) {
  const double ratio = (b[3] - b[1]) / std::max(1.0, seen.y2 - seen.y1);
  t.camera_scale += 0.3 * (std::log(std::clamp(ratio, 0.2, 5.0)) - t.camera_scale);
  steer(t, fixed_projection_.data(), b);
  Measurement m;
  if (t.hits > 0 || !locate(f, camera, b, of(t), m)) return;
  m.radial_var *= kSameGuess;
  update(t, of(t), m);
}

// Where an object of a class stands whose camera box this is, by the height that such boxes show. False: cannot be told.
bool Tracker::locate(const PerceptTrackingFrame& f, int camera, const double* b, const ClassParameters& c, Measurement& m) const {
  const double *Q = f.projections + 12 * camera, *T = f.fixed_SE3_base;
  const double w = f.image_size[2 * camera], h = f.image_size[2 * camera + 1];
  const double u = (b[0] + b[2]) / 2, v = (b[1] + b[3]) / 2, tall = b[3] - b[1];
  if (b[0] < kBorder || b[1] < kBorder || b[2] > w - 1 - kBorder || b[3] > h - 1 - kBorder || tall < 4) return false;
  const double depth = std::fabs(Q[6] - v * Q[10]) * c.camera_height_m / tall;
  const double s[3] = {depth * u - Q[3], depth * v - Q[7], depth - Q[11]};
  const double k0 = Q[5] * Q[10] - Q[6] * Q[9], k1 = Q[6] * Q[8] - Q[4] * Q[10], k2 = Q[4] * Q[9] - Q[5] * Q[8];
  const double det = Q[0] * k0 + Q[1] * k1 + Q[2] * k2;
  if (std::fabs(det) < 1e-9 || depth > kDeepest) return false;
  const double base[3] = {
      (k0 * s[0] + (Q[2] * Q[9] - Q[1] * Q[10]) * s[1] + (Q[1] * Q[6] - Q[2] * Q[5]) * s[2]) / det,
      (k1 * s[0] + (Q[0] * Q[10] - Q[2] * Q[8]) * s[1] + (Q[2] * Q[4] - Q[0] * Q[6]) * s[2]) / det,
      (k2 * s[0] + (Q[1] * Q[8] - Q[0] * Q[9]) * s[1] + (Q[0] * Q[5] - Q[1] * Q[4]) * s[2]) / det};
  double box[7];
  for (int i = 0; i < 3; ++i) box[i] = T[4 * i] * base[0] + T[4 * i + 1] * base[1] + T[4 * i + 2] * base[2] + T[4 * i + 3];
  box[3] = c.usual_length_m, box[4] = c.usual_width_m, box[5] = c.usual_height_m;
  box[6] = std::atan2(T[4], T[0]);  // as the vehicle goes
  const double unknown[2] = {std::nan(""), std::nan("")};
  m = measurement(box, unknown, 1.0, ego_, c);
  m.radial_var = c.camera_depth * m.range_m * c.camera_depth * m.range_m;
  m.tangent_var = (0.1 + 0.003 * m.range_m) * (0.1 + 0.003 * m.range_m);
  m.height_var = (0.2 + 0.01 * m.range_m) * (0.2 + 0.01 * m.range_m);
  m.yaw_var = 0.1;
  m.size_var = 0.25;
  return true;
}

void Tracker::noteSightings(const PerceptTrackingFrame& f, int camera) {
  const int64_t from = f.camera_offsets[camera], to = f.camera_offsets[camera + 1];
  taken_.assign(static_cast<size_t>(to - from), 0);
  for (const int column : matched_)
    if (column >= 0) taken_[column] = 1;
  const size_t first = sightings_.size();
  for (int64_t k = from; k < to; ++k) {
    const int64_t cls = f.classes2d[k];
    if (taken_[k - from] || cls < 0 || cls >= kClasses || f.scores2d[k] < p_.c[cls].camera_birth) continue;
    const double* b = f.boxes2d + 4 * k;
    const Pixels q{b[0], b[1], b[2], b[3]};
    const auto explains = [&](size_t i) {
      const double shared = seen_[i] ? common(pixels_[i], q) : 0;
      return shared > kExplained * (pixels_[i].area() + q.area() - shared);
    };
    bool fresh = true;
    for (size_t i = 0; fresh && i < seen_.size(); ++i) fresh = !explains(i);
    if (fresh) sightings_.push_back({camera, k});
  }
  // The result does not depend on the order in which boxes come.
  std::sort(sightings_.begin() + static_cast<int64_t>(first), sightings_.end(), [&](const Sighting& a, const Sighting& b) {
    if (f.scores2d[a.row] != f.scores2d[b.row]) return f.scores2d[a.row] > f.scores2d[b.row];
    return std::lexicographical_compare(f.boxes2d + 4 * a.row, f.boxes2d + 4 * a.row + 4, f.boxes2d + 4 * b.row, f.boxes2d + 4 * b.row + 4);
  });
}

void Tracker::giveCameraBirth(const PerceptTrackingFrame& f) {
  for (const Sighting& s : sightings_) {
    if (tracks_.size() >= static_cast<size_t>(p_.g.max_tracks)) return;
    const int cls = static_cast<int>(f.classes2d[s.row]);
    const ClassParameters& c = p_.c[cls];
    const double *b = f.boxes2d + 4 * s.row, w = f.image_size[2 * s.camera];
    Measurement m;
    if (!locate(f, s.camera, b, c, m)) continue;
    const auto near = [&](const Track& t) {
      return t.birth_ns == f.stamp_ns && !t.hits && std::hypot(t.x[0] - m.box[0], t.x[1] - m.box[1]) < c.usual_length_m;
    };
    if (std::any_of(tracks_.begin(), tracks_.end(), near)) continue;  // two cameras see it
    Track& t = newTrack(cls, f.stamp_ns);
    std::fill(t.probs, t.probs + kClasses, 0.02);
    t.probs[cls] = 1 - 0.02 * (kClasses - 1);
    start(t, c, m);
    t.sensors = f.camera_bits[s.camera];
    t.camera_hit = t.in_view = t.projected = true;
    t.camera_score = std::clamp(f.scores2d[s.row], 0.0, 1.0);
    t.camera_ns = f.stamp_ns;
    t.visible = 1;
    t.pixels = {b[0], b[1], b[2], b[3]};
    t.pixel_height = b[3] - b[1];
    t.border = std::min(1.0, std::min(b[0] + b[2], 2 * (w - 1) - b[0] - b[2]) / w);
    t.camera_overlap = 1;
    t.existence = p_.g.birth * t.camera_score;
  }
  sightings_.clear();
}

void Tracker::look(const PerceptTrackingFrame& f, double dt) {
  for (Track& t : tracks_) {
    t.in_view = t.projected = false;
    t.visible = t.occluded = t.pixel_height = t.border = t.camera_overlap = 0;
  }
  for (int c = 0; c < f.cameras; ++c) {
    projectAll(f, c);
    if (f.measured) matchCamera(f, c);
    occlude(c);
  }
  if (f.measured) giveCameraBirth(f);
  for (Track& t : tracks_) t.range_m = std::hypot(t.x[0] - ego_[0], t.x[1] - ego_[1]);
  if (!f.measured) return;
  const double slow = 1 - std::exp(-std::max(dt, 0.02) / 0.5);
  for (Track& t : tracks_) {
    t.camera_recent += slow * ((t.camera_hit ? t.camera_score : 0.0) - t.camera_recent);
    if (!t.in_view) continue;
    t.camera_frames += 1;
    t.camera_hits += t.camera_hit;
    t.camera_score_sum += t.camera_hit ? t.camera_score : 0.0;
  }
}

// Largest bird's-eye overlap with a more certain track.
void Tracker::shadow() {
  const size_t n = tracks_.size();
  for (Track& t : tracks_) t.shadowed = 0;
  list_.resize(n);
  std::iota(list_.begin(), list_.end(), 0);
  std::sort(list_.begin(), list_.end(), [&](int a, int b) { return tracks_[a].x[0] < tracks_[b].x[0] || (tracks_[a].x[0] == tracks_[b].x[0] && a < b); });
  double widest = 0;
  for (const Rectangle& r : ground_) widest = std::max(widest, r.radius);
  for (size_t a = 0; a < n; ++a)
    for (size_t b = a + 1; b < n; ++b) {
      Track &s = tracks_[list_[a]], &t = tracks_[list_[b]];
      const Rectangle &rs = ground_[list_[a]], &rt = ground_[list_[b]];
      const double dx = t.x[0] - s.x[0], dy = t.x[1] - s.x[1], reach = rs.radius + rt.radius;
      if (dx > rs.radius + widest) break;
      if (dx * dx + dy * dy > reach * reach) continue;
      const double common = intersection(rs, rt), iou = common / (rs.area + rt.area - common);
      const bool first = s.existence != t.existence ? s.existence > t.existence : s.number < t.number;
      Track& weaker = first ? t : s;
      weaker.shadowed = std::max(weaker.shadowed, iou);
    }
}

// Belief p after a camera box matched, where the camera is no part of it yet.
double Tracker::withCamera(const Track& t, double p) const {
  return sigmoid(logit(p) + std::log1p((p_.g.camera_odds - 1) * t.camera_score));
}

// Of belief while a weaker detector measures: its match does not lower it, its miss says little.
constexpr double kSlower = 6.0;

double Tracker::bayes(const Track& t, double dt, int measured) const {
  const Globals& g = p_.g;
  const bool weaker = measured == kWeaker;
  double p = std::clamp(t.existence, g.low, g.high);
  if (t.hit && t.hits > 1) {
    const double odds = std::exp(g.gain * (t.score - logit(g.prior)));
    p = sigmoid(logit(p) + std::log(std::clamp(odds, weaker ? 1.0 : 0.5, 20.0)));
  } else if (!t.hit && !t.camera_hit) {
    p *= std::exp2(-dt / (g.half_life_s * (weaker ? kSlower : 1.0)));
  }
  if (measured && t.camera_hit) p = withCamera(t, p);
  return std::clamp(p, g.low, g.high);
}

void Tracker::believe(const PerceptTrackingFrame& f, double dt) {
  double v[kFeatures];
  for (Track& t : tracks_) {
    const bool camera = f.cameras > 0 && model_.knows(t.cls, true);
    // The usual detector is back: a track that it knew may be found by the next look, and the first may have been at something else.
    const bool sought = t.usual_ns && t.vague_ns && f.stamp_ns - t.vague_ns < kSoughtNs;
    const double faded = t.existence * std::exp2(-dt / p_.g.half_life_s);
    if (f.measured != kWeaker && (camera || model_.knows(t.cls, false))) {  // it learned what the strong detector's answers mean
      features(t, of(t), f.stamp_ns, v);
      t.existence = std::max(model_.probability(t.cls, camera, v), sought ? faded : 0.0);
      if (!camera && f.measured && t.camera_hit) t.existence = withCamera(t, t.existence);
    } else {
      t.existence = bayes(t, dt, f.measured);
    }
    const ClassParameters& c = of(t);
    if (t.existence >= c.confirm && (t.hits ? t.hits : t.camera_hits) >= c.min_hits) t.confirmed = true;
  }
}

// Silence counts from when the usual detector looked again: a weaker one that does not find a track says little.
void Tracker::bury(int64_t now) {
  const auto dead = [&](const Track& t) {
    const ClassParameters& c = of(t);
    const int64_t excused = t.usual_ns ? std::min(t.vague_ns, t.usual_ns + kRememberedNs) : 0;
    const double silent = 1e-9 * static_cast<double>(now - std::max(t.measured_ns, excused)), blind = 1e-9 * static_cast<double>(now - t.lidar_ns);
    if (silent > c.max_coast_s || blind > c.max_lidar_coast_s) return true;
    return !t.hit && !t.camera_hit && t.existence < c.forget;
  };
  tracks_.erase(std::remove_if(tracks_.begin(), tracks_.end(), dead), tracks_.end());
}

bool Tracker::published(const Track& t) const {
  const ClassParameters& c = of(t);
  if (t.shadowed > c.duplicate_iou) return false;
  if (t.confirmed && t.existence >= (t.hit ? c.publish : c.publish_coast)) return true;
  const double mean = t.shown ? t.shown_sum / t.shown : t.existence;
  return t.existence >= c.publish_faint && mean < c.faint_mean;
}

int Tracker::publish(int64_t now, PerceptTrackingOutput& out) {
  int row = 0;
  for (Track& t : tracks_) {
    if (row >= out.capacity || !published(t)) continue;
    t.shown += 1;
    t.shown_sum += t.existence;
    write(t, row++, now, out);
  }
  return row;
}

void Tracker::write(const Track& t, int row, int64_t now, PerceptTrackingOutput& out) const {
  const ClassParameters& c = of(t);
  const bool turn = turning(c);
  std::memcpy(out.id + 16 * row, t.id, 16);
  out.state[row] = !t.confirmed ? 0 : t.hit || t.camera_hit ? 1 : 2;
  std::copy(t.probs, t.probs + kClasses, out.class_probs + kClasses * row);
  out.existence[row] = t.existence;
  boxOf(t, c, out.boxes + 7 * row);
  double* v = out.velocity + 2 * row;
  velocity(t, c, v);
  const double speed = std::hypot(v[0], v[1]), yaw = heading(t, c), cs = std::cos(yaw), sn = std::sin(yaw);
  const double w = turn ? t.x[4] : 0, a = turn ? t.x[5] : 0, vv = turn ? t.x[3] : 0;
  out.acceleration[2 * row] = a * cs - vv * w * sn;
  out.acceleration[2 * row + 1] = a * sn + vv * w * cs;
  out.yaw_rate[row] = w;
  double *P = out.pose_cov + 36 * row, *Q = out.twist_cov + 36 * row;
  std::fill(P, P + 36, 0.0);
  std::fill(Q, Q + 36, 0.0);
  P[0] = t.P[0], P[1] = P[6] = t.P[1], P[7] = t.P[7];
  P[14] = t.z_var;
  P[21] = P[28] = 0.01;
  P[35] = turn ? t.P[14] : t.yaw_var;
  if (turn) {
    P[5] = P[30] = t.P[2];
    P[11] = P[31] = t.P[8];
    // velocity = (v cos yaw, v sin yaw), turn rate: rows of the Jacobian over yaw, v, turn rate; slip keeps it definite
    const double J[2][2] = {{-vv * sn, cs}, {vv * cs, sn}};
    const double S[2][2] = {{t.P[14], t.P[15]}, {t.P[20], t.P[21]}}, W[2] = {t.P[16], t.P[22]};
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j)
        for (int k = 0; k < 2; ++k)
          for (int l = 0; l < 2; ++l) Q[6 * i + j] += J[i][k] * S[k][l] * J[j][l];
      Q[6 * i + 5] = Q[30 + i] = J[i][0] * W[0] + J[i][1] * W[1];
    }
    Q[1] = Q[6] = 0.5 * (Q[1] + Q[6]);
    Q[0] += 0.01, Q[7] += 0.01;
    Q[35] = t.P[28];
  } else {
    Q[0] = t.P[14], Q[1] = Q[6] = t.P[15], Q[7] = t.P[21];
    Q[35] = 0.25;
  }
  Q[14] = 0.25;
  Q[21] = Q[28] = 0.05;
  out.age_ns[row] = now - t.birth_ns;
  out.since_ns[row] = now - t.measured_ns;
  out.sensors[row] = t.sensors;
  const double sigma = std::sqrt(std::max(Q[0], Q[7]));
  out.stationary[row] = speed < p_.g.stationary_mps && sigma < 1.0;
  out.number[row] = t.number;
}

int Tracker::exportAll(int64_t* numbers, int64_t* classes, double* f, double* boxes, double* existence, int capacity) const {
  int row = 0;
  for (const Track& t : tracks_) {
    if (row >= capacity) break;
    numbers[row] = t.number;
    classes[row] = t.cls;
    features(t, of(t), stamp_ns_, f + static_cast<int64_t>(row) * kFeatures);
    boxOf(t, of(t), boxes + 7 * row);
    existence[row++] = t.existence;
  }
  return row;
}

}  // namespace percept::tracking
