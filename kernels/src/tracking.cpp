// C interface of the tracker; see percept_tracking.h.
#include "percept_tracking.h"

#include <memory>

#include "tracking_tracker.h"

using namespace percept::tracking;

void* percept_tracker_create(const double* parameters, int64_t n_parameters, const double* model, int64_t n_model, uint64_t seed) {
  if (!parameters || n_parameters * sizeof(double) != sizeof(Parameters)) return nullptr;
  Parameters p;
  std::memcpy(&p, parameters, sizeof p);
  auto tracker = std::make_unique<Tracker>(p, seed);
  if (model && !tracker->loadModel(model, n_model)) return nullptr;
  return tracker.release();
}

void percept_tracker_destroy(void* tracker) { delete static_cast<Tracker*>(tracker); }

void percept_tracker_reset(void* tracker) {
  if (tracker) static_cast<Tracker*>(tracker)->reset();
}

int32_t percept_tracker_step(void* tracker, const PerceptTrackingFrame* f, PerceptTrackingOutput* out) {
  if (!tracker || !f || !out || f->n < 0 || f->cameras < 0 || !f->fixed_SE3_base || out->capacity < 0) return -1;
  if (f->n && (!f->boxes || !f->scores || !f->class_probs || !f->velocity || !f->sensors)) return -1;
  if (f->cameras && (!f->projections || !f->image_size || !f->camera_bits || !f->camera_offsets)) return -1;
  if (f->cameras && f->camera_offsets[f->cameras] > 0 && (!f->boxes2d || !f->scores2d || !f->classes2d)) return -1;
  return static_cast<Tracker*>(tracker)->step(*f, *out);
}

int32_t percept_tracker_export(void* tracker, int64_t* numbers, int64_t* classes, double* features, double* boxes, double* existence, int32_t capacity) {
  if (!tracker || !numbers || !classes || !features || !boxes || !existence || capacity < 0) return -1;
  return static_cast<Tracker*>(tracker)->exportAll(numbers, classes, features, boxes, existence, capacity);
}

int32_t percept_tracker_consistency(void* tracker, double* out) {
  if (!tracker || !out) return -1;
  std::memcpy(out, static_cast<Tracker*>(tracker)->consistency(), kClasses * kBands * sizeof(Consistency));
  return kClasses;
}

int32_t percept_tracking_overlap(const double* a, int64_t n, const double* b, int64_t m, int32_t kind, double* out) {
  if (n < 0 || m < 0 || kind < 0 || kind > 2 || (n && !a) || (m && !b) || (n && m && !out)) return -1;
  std::vector<Rectangle> rb(m);
  for (int64_t j = 0; j < m; ++j) rb[j] = rectangle(b + 7 * j);
  for (int64_t i = 0; i < n; ++i) {
    const Rectangle ra = rectangle(a + 7 * i);
    for (int64_t j = 0; j < m; ++j) {
      const Overlap o = overlap(a + 7 * i, b + 7 * j, ra, rb[j], kind == 2);
      out[i * m + j] = kind == 0 ? o.iou_3d : kind == 1 ? o.iou_bev : o.giou_3d;
    }
  }
  return 0;
}

int32_t percept_tracking_assign(const double* cost, int64_t n, int64_t m, double forbidden, int64_t* row_to_col) {
  if (n < 0 || m < 0 || n > 100000 || m > 100000 || (n && (!cost && m)) || (n && !row_to_col)) return -1;
  std::vector<Pair> pairs;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < m; ++j) {
      if (!(cost[i * m + j] < forbidden)) continue;
      if (!std::isfinite(cost[i * m + j])) return -1;
      pairs.push_back({static_cast<int>(i), static_cast<int>(j), cost[i * m + j]});
    }
  std::vector<int> found;
  Assignment().sparse(pairs, static_cast<int>(n), static_cast<int>(m), found);
  int32_t matches = 0;
  for (int64_t i = 0; i < n; ++i) matches += (row_to_col[i] = found[i]) >= 0;
  return matches;
}
