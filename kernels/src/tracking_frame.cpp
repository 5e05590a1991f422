// LiDAR half of a frame: predict, associate, update, give birth.
#include <numeric>

#include "tracking_tracker.h"

namespace percept::tracking {

namespace {

constexpr double kOutlier = 9.0;   // squared Mahalanobis distance on the ground plane
constexpr double kFarthest = 12.0;  // metres that a track which only cameras saw may be off
// Of tracks that the usual detector knows, while a weaker one measures.
constexpr double kVagueM = 6.0;       // one-sigma of its centres
constexpr double kVagueYaw = 1.5;     // of its headings, radians: often across
constexpr double kVagueShape = 10.0;  // factor of the variance of size and height
constexpr double kVagueGiou = -0.5;   // least overlap of a match, also of the first one of the usual detector
constexpr double kUnknownCost = 0.5;  // for the usual detector to take up what only the weaker one knows, where a known track may go on

uint64_t mix(uint64_t z) {  // splitmix64 (Steele, Lea and Flood, OOPSLA 2014)
  z += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void nameTrack(uint64_t seed, int64_t number, uint8_t* id) {
  const uint64_t a = mix(seed ^ mix(static_cast<uint64_t>(number))), b = mix(a ^ 0xd1b54a32d192ed03ull);
  std::memcpy(id, &a, 8);
  std::memcpy(id + 8, &b, 8);
  id[6] = (id[6] & 0x0f) | 0x40;
  id[8] = (id[8] & 0x3f) | 0x80;
}

int mostProbable(const double* p) { return static_cast<int>(std::max_element(p, p + kClasses) - p); }

bool finite(const double* v, int64_t n) {
  return std::all_of(v, v + n, [](double a) { return std::isfinite(a); });
}

void convertMotion(Track& t, const ClassParameters& from, const ClassParameters& to) {
  double v[2];
  velocity(t, from, v);
  const double yaw = heading(t, from), speed2 = 4.0;
  const double pos[4] = {t.P[0], t.P[1], t.P[6], t.P[7]};
  std::fill(t.P, t.P + 36, 0.0);
  t.P[0] = pos[0], t.P[1] = pos[1], t.P[6] = pos[2], t.P[7] = pos[3];
  t.x[4] = t.x[5] = 0;
  if (turning(to)) {
    t.x[2] = yaw;
    t.x[3] = v[0] * std::cos(yaw) + v[1] * std::sin(yaw);
    t.P[14] = 0.1, t.P[21] = speed2, t.P[28] = 0.04, t.P[35] = 1;
  } else {
    t.yaw = yaw, t.yaw_var = 0.1;
    t.x[2] = v[0], t.x[3] = v[1];
    t.P[14] = t.P[21] = speed2, t.P[28] = t.P[35] = 1;
  }
}

}  // namespace

void Tracker::reset() {
  tracks_.clear();
  started_ = false;
}

void Tracker::predictAll(double dt) {
  for (Track& t : tracks_) {
    predict(t, of(t), dt);
    t.hit = t.camera_hit = false;
    t.vague |= weaker_;
    if (weaker_) t.vague_ns = stamp_ns_;
  }
}

bool Tracker::readDetections(const PerceptTrackingFrame& f) {
  if (!finite(f.fixed_SE3_base, 16) || !finite(f.boxes, 7 * static_cast<int64_t>(f.n)) || !finite(f.scores, f.n) ||
      !finite(f.class_probs, kClasses * static_cast<int64_t>(f.n)))
    return false;
  const double* T = f.fixed_SE3_base;
  for (int i = 0; i < 3; ++i) ego_[i] = T[4 * i + 3];
  dets_.resize(f.n);
  for (int i = 0; i < f.n; ++i) {
    Detection& d = dets_[i];
    const double *b = f.boxes + 7 * i, *v = f.velocity + 2 * i;
    if (b[3] <= 0 || b[4] <= 0 || b[5] <= 0) return false;
    for (int k = 0; k < 3; ++k) d.box[k] = T[4 * k] * b[0] + T[4 * k + 1] * b[1] + T[4 * k + 2] * b[2] + T[4 * k + 3];
    std::copy(b + 3, b + 6, d.box + 3);
    const double c = std::cos(b[6]), s = std::sin(b[6]);
    d.box[6] = std::atan2(T[4] * c + T[5] * s, T[0] * c + T[1] * s);
    for (int k = 0; k < 2; ++k) d.velocity[k] = T[4 * k] * v[0] + T[4 * k + 1] * v[1];
    d.score = std::clamp(f.scores[i], 1e-6, 1 - 1e-6);
    d.probs = f.class_probs + kClasses * i;
    d.sensors = f.sensors[i];
    d.cls = mostProbable(d.probs);
    d.track = -1;
    d.m = measurement(d.box, d.velocity, d.score, ego_, p_.c[d.cls]);
    d.ground = rectangle(d.box);
  }
  // The result does not depend on the order in which detections come.
  std::sort(dets_.begin(), dets_.end(), [](const Detection& a, const Detection& b) {
    if (a.score != b.score) return a.score > b.score;
    return std::lexicographical_compare(a.box, a.box + 7, b.box, b.box + 7);
  });
  return true;
}

// What a detection says about a track. A weaker detector means part of the object, or the one beside it, as often as the
// object: it shows that a track which the usual one knows is still there, and hardly moves it until that has been away for long.
Measurement Tracker::of(const Track& t, const Detection& d) const {
  Measurement m = d.m;
  if (!weaker_ || !t.usual_ns || stamp_ns_ - t.usual_ns > kRememberedNs) return m;
  for (double* var : {&m.radial_var, &m.tangent_var}) *var += kVagueM * kVagueM;
  m.yaw_var += kVagueYaw * kVagueYaw;
  for (double* var : {&m.height_var, &m.size_var}) *var *= kVagueShape;
  return m;
}

void Tracker::refreshGround() {
  ground_.resize(tracks_.size());
  for (size_t i = 0; i < tracks_.size(); ++i) {
    double b[7];
    boxOf(tracks_[i], of(tracks_[i]), b);
    ground_[i] = rectangle(b);
  }
}

void Tracker::collectPairs(const std::vector<int>& dets, bool strong) {
  pairs_.clear();
  along_.resize(dets.size());
  std::iota(along_.begin(), along_.end(), 0);
  std::sort(along_.begin(), along_.end(), [&](int a, int b) { return dets_[dets[a]].box[0] < dets_[dets[b]].box[0]; });
  for (size_t r = 0; r < tracks_.size(); ++r) {
    const Track& t = tracks_[r];
    if (t.hit) continue;
    const ClassParameters& c = of(t);
    const bool ranged = t.hits > 0;
    const double gate2 = ranged ? c.gate_centre_m * c.gate_centre_m : kFarthest * kFarthest, least = t.vague && t.usual_ns ? kVagueGiou : strong ? c.gate_giou : c.gate_giou_weak;
    double box[7];
    boxOf(t, c, box);
    const double reach = std::sqrt(gate2);
    auto at = std::lower_bound(along_.begin(), along_.end(), box[0] - reach, [&](int a, double x) { return dets_[dets[a]].box[0] < x; });
    for (; at != along_.end(); ++at) {
      const int k = *at;
      const Detection& d = dets_[dets[k]];
      const double dx = d.box[0] - box[0], dy = d.box[1] - box[1];
      if (dx > reach) break;
      if (dx * dx + dy * dy > gate2) continue;
      const double group = p_.c[d.cls].group;
      if (group != c.group && group != 0 && c.group != 0) continue;
      const double m2 = weaker_ ? mahalanobis2(t, of(t, d)) : mahalanobis2(t, d.m);
      if (m2 > (ranged ? c.gate_mahalanobis2 : kOutlier)) continue;
      const double giou = overlap(box, d.box, ground_[r], d.ground, true).giou_3d;
      if (ranged && giou < least) continue;
      const double w = p_.g.weight_mahalanobis;
      double cost = (1 - w) * (1 - giou) / 2 + w * m2 / c.gate_mahalanobis2 + 0.1 * (1 - t.existence);
      if (!weaker_ && t.vague && !t.usual_ns) cost += kUnknownCost;
      pairs_.push_back({static_cast<int>(r), k, cost});
    }
  }
}

void Tracker::associate(bool strong) {
  list_.clear();
  for (size_t i = 0; i < dets_.size(); ++i)
    if (dets_[i].track < 0 && (!strong || dets_[i].score >= p_.c[dets_[i].cls].high_score)) list_.push_back(static_cast<int>(i));
  if (list_.empty() || tracks_.empty()) return;
  collectPairs(list_, strong);
  assignment_.sparse(pairs_, static_cast<int>(tracks_.size()), static_cast<int>(list_.size()), matched_);
  for (size_t r = 0; r < tracks_.size(); ++r)
    if (matched_[r] >= 0) {
      dets_[list_[matched_[r]]].track = static_cast<int>(r);
      tracks_[r].hit = true;
    }
}

void Tracker::takeClass(Track& t, const double* probs) {
  double sum = 0;
  for (int k = 0; k < kClasses; ++k) sum += t.probs[k] = std::pow(t.probs[k] + 1e-6, 0.95) * (0.9 * probs[k] + 0.1 / kClasses);
  for (double& p : t.probs) p /= sum;
  const int best = mostProbable(t.probs);
  if (best == t.cls || t.probs[best] < t.probs[t.cls] + 0.1) return;
  if (p_.c[best].motion != of(t).motion) convertMotion(t, of(t), p_.c[best]);
  t.cls = best;
}

// Detectors take cyclists for pedestrians: nobody walks at 5 m/s, so a sustained speed speaks about the class too.
void Tracker::judgeSpeed(const Track& t, const double* probs, double* judged) const {
  constexpr int kBicycle = 6, kPedestrian = 7;
  std::copy(probs, probs + kClasses, judged);
  double v[2];
  velocity(t, of(t), v);
  if (turning(of(t)) || t.hits < 5 || t.P[14] + t.P[21] > 1.0) return;
  const double excess = std::max(0.0, std::hypot(v[0], v[1]) - 2.2) / 0.5;
  const double walking = std::max(1e-4, std::exp(-0.5 * excess * excess)), riding = 0.1;
  const double both = probs[kBicycle] + probs[kPedestrian];
  const double share = (probs[kPedestrian] + 0.02) * walking / ((probs[kPedestrian] + 0.02) * walking + (probs[kBicycle] + 0.02) * riding);
  judged[kPedestrian] = both * share;
  judged[kBicycle] = both * (1 - share);
}

void Tracker::countInnovation(const Track& t, const Measurement& m, double m2) {
  if (t.hits < 3) return;
  int band = 0;
  while (band < kBands - 1 && m.range_m >= kBandEnd[band]) ++band;
  Consistency& k = consistency_[t.cls][band];
  k.matches += 1;
  k.sum += m2;
  k.freedom += 2;
  k.beyond += m2 > 5.991;
  k.log_likelihood -= 0.5 * (m2 + std::log(innovationDeterminant(t, m))) + std::log(2 * kPi);
}

void Tracker::take(Track& t, Detection& d, int64_t now) {
  d.m = of(t, d);
  const double m2 = mahalanobis2(t, d.m);
  countInnovation(t, d.m, m2);
  const bool remembered = weaker_ && t.usual_ns;  // evidence of the usual detector stays as it was
  const double jitter[2] = {t.yaw_jitter, t.size_jitter};
  if (!remembered) t.innovation += 0.3 * (m2 - t.innovation);
  if (m2 > kOutlier) {  // a far measurement counts less (Huber)
    d.m.radial_var *= m2 / kOutlier;
    d.m.tangent_var *= m2 / kOutlier;
  }
  if (!remembered) t.score = logit(d.score);
  t.vague = weaker_;
  if (!weaker_) t.usual_ns = now;
  if (t.hits == 0) {  // only cameras saw it so far: its depth was a guess
    start(t, of(t), d.m);
    t.score_max = t.score_recent = t.score;
  } else {
    update(t, of(t), d.m);
  }
  if (remembered) t.yaw_jitter = jitter[0], t.size_jitter = jitter[1];
  if (!remembered) {
    double judged[kClasses];
    judgeSpeed(t, d.probs, judged);
    takeClass(t, judged);
  }
  t.sensors = d.sensors;
  t.measured_ns = t.lidar_ns = now;
}

// Whether a confirmed track is so near that a weaker detector may mean it under another class or shape.
bool Tracker::covered(const Detection& d) const {
  constexpr double kReachM = 2.5;
  return std::any_of(tracks_.begin(), tracks_.end(), [&](const Track& t) {
    return t.confirmed && std::hypot(t.x[0] - d.m.box[0], t.x[1] - d.m.box[1]) < kReachM;
  });
}

void Tracker::giveBirth(const PerceptTrackingFrame& f) {
  for (Detection& d : dets_) {
    const ClassParameters& c = p_.c[d.cls];
    if (d.track >= 0 || d.score < c.birth_score) continue;
    if (f.measured == kWeaker && covered(d)) continue;
    if (tracks_.size() >= static_cast<size_t>(p_.g.max_tracks)) return;
    d.track = static_cast<int>(tracks_.size());
    Track& t = newTrack(d.cls, f.stamp_ns);
    std::copy(d.probs, d.probs + kClasses, t.probs);
    start(t, c, d.m);
    t.sensors = d.sensors;
    t.score = t.score_max = t.score_recent = logit(d.score);
    t.hit = true;
    t.hit_recent = 1;
    t.existence = p_.g.birth * d.score;
    t.usual_ns = weaker_ ? 0 : f.stamp_ns;
    t.vague = weaker_;
  }
}

Track& Tracker::newTrack(int cls, int64_t now) {
  Track t;
  std::memset(&t, 0, sizeof t);
  t.number = ++born_;
  nameTrack(seed_, t.number, t.id);
  t.cls = cls;
  t.birth_ns = t.measured_ns = t.lidar_ns = now;
  tracks_.push_back(t);
  return tracks_.back();
}

int Tracker::step(const PerceptTrackingFrame& f, PerceptTrackingOutput& out) {
  const double dt = started_ ? 1e-9 * static_cast<double>(f.stamp_ns - stamp_ns_) : 0.0;
  if (!readDetections(f)) return -2;
  weaker_ = f.measured == kWeaker;
  stamp_ns_ = f.stamp_ns;
  started_ = true;
  predictAll(dt);
  refreshGround();
  associate(true);
  associate(false);
  for (Detection& d : dets_)
    if (d.track >= 0) take(tracks_[d.track], d, f.stamp_ns);
  giveBirth(f);
  if (f.measured) countEvidence(f, dt);
  look(f, dt);
  refreshGround();
  shadow();
  believe(f, dt);
  bury(f.stamp_ns);
  return publish(f.stamp_ns, out);
}

}  // namespace percept::tracking
