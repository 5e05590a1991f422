// The tracker: what happens to all tracks in one frame.
#pragma once
#include <vector>

#include "../percept_tracking.h"
#include "tracking_assignment.h"
#include "tracking_existence.h"

namespace percept::tracking {

// Order is that of TrackerParameters.flat in percept_ros/core/tracking_parameters.py.
struct Globals {
  double half_life_s, prior, gain, low, high, camera_odds, birth, max_tracks, stationary_mps, weight_mahalanobis;
};

struct Parameters {
  Globals g;
  ClassParameters c[kClasses];
};

struct Detection {
  double box[7], velocity[2], score;
  const double* probs;
  uint32_t sensors;
  int cls, track;
  Measurement m;
  Rectangle ground;
};

constexpr int kBands = 4;
constexpr double kBandEnd[kBands - 1] = {15, 30, 50};  // metres

// Value of PerceptTrackingFrame::measured: by a weaker detector than the one that scores were calibrated with.
constexpr int kWeaker = 2;
constexpr int64_t kRememberedNs = 3'000'000'000;  // for so long a weaker detector hardly moves what the usual one measured

struct Consistency {
  double matches, sum, freedom, beyond, log_likelihood;
};

// A camera box that no track explains.
struct Sighting {
  int camera;
  int64_t row;
};

class Tracker {
 public:
  Tracker(const Parameters& p, uint64_t seed) : p_(p), seed_(seed) {}
  bool loadModel(const double* data, int64_t n) { return model_.load(data, n); }
  void reset();
  int step(const PerceptTrackingFrame& f, PerceptTrackingOutput& out);
  int exportAll(int64_t* numbers, int64_t* classes, double* f, double* boxes, double* existence, int capacity) const;
  int64_t save(uint8_t* out, int64_t capacity) const;
  int restore(const uint8_t* in, int64_t size);
  const Consistency* consistency() const { return &consistency_[0][0]; }

 private:
  const ClassParameters& of(const Track& t) const { return p_.c[t.cls]; }
  Measurement of(const Track& t, const Detection& d) const;
  void predictAll(double dt);
  bool readDetections(const PerceptTrackingFrame& f);
  void refreshGround();
  void associate(bool strong);
  void collectPairs(const std::vector<int>& dets, bool strong);
  void take(Track& t, Detection& d, int64_t now);
  void judgeSpeed(const Track& t, const double* probs, double* judged) const;
  void takeClass(Track& t, const double* probs);
  void giveBirth(const PerceptTrackingFrame& f);
  bool covered(const Detection& d) const;
  void countEvidence(const PerceptTrackingFrame& f, double dt);
  void look(const PerceptTrackingFrame& f, double dt);
  void projectAll(const PerceptTrackingFrame& f, int camera);
  void matchCamera(const PerceptTrackingFrame& f, int camera);
  void occlude(int camera);
  void steer(Track& t, const double* M, const double* box2d);
  bool locate(const PerceptTrackingFrame& f, int camera, const double* box2d, const ClassParameters& c, Measurement& m) const;
  void follow(Track& t, const PerceptTrackingFrame& f, int camera, const double* box2d, const Pixels& seen);
  void noteSightings(const PerceptTrackingFrame& f, int camera);
  void giveCameraBirth(const PerceptTrackingFrame& f);
  void countInnovation(const Track& t, const Measurement& m, double m2);
  Track& newTrack(int cls, int64_t now);
  void shadow();
  void believe(const PerceptTrackingFrame& f, double dt);
  double bayes(const Track& t, double dt, int measured) const;
  double withCamera(const Track& t, double p) const;
  void bury(int64_t now);
  bool published(const Track& t) const;
  int publish(int64_t now, PerceptTrackingOutput& out);
  void write(const Track& t, int row, int64_t now, PerceptTrackingOutput& out) const;

  Parameters p_;
  uint64_t seed_;
  ExistenceModel model_;
  std::vector<Track> tracks_;
  std::vector<Rectangle> ground_;
  std::vector<Detection> dets_;
  std::vector<Pair> pairs_;
  std::vector<int> matched_, list_, along_;
  std::vector<Pixels> pixels_;
  std::vector<char> seen_, taken_;
  std::vector<double> nearness_, fixed_projection_;
  std::vector<Sighting> sightings_;
  Assignment assignment_;
  Consistency consistency_[kClasses][kBands] = {};
  int64_t stamp_ns_ = 0, born_ = 0;
  bool started_ = false, weaker_ = false;
  double ego_[3] = {0, 0, 0};
};

}  // namespace percept::tracking
