// Multi-object tracker over arrays of boxes: predict, gate, assign, update, score existence, publish. One call a frame.
// A box is [x, y, z, l, w, h, yaw], centre, metres, radians, z up. State lives behind an opaque handle.
#pragma once
#include "percept_kernels.h"

// One frame of input. All arrays are contiguous and only read during the call.
struct PerceptTrackingFrame {
  int64_t stamp_ns;
  const double* fixed_SE3_base;   // (16) row major
  const double* boxes;            // (n, 7) in the base frame
  const double* scores;           // (n) in [0, 1]
  const double* class_probs;      // (n, 8)
  const double* velocity;         // (n, 2) over ground, base axes, NaN = unknown
  const uint32_t* sensors;        // (n)
  const double* projections;      // (cameras, 12) pixels from base frame
  const double* image_size;       // (cameras, 2) width, height
  const uint32_t* camera_bits;    // (cameras)
  const int64_t* camera_offsets;  // (cameras + 1) rows of boxes2d of each camera
  const double* boxes2d;          // (m, 4) x1 y1 x2 y2
  const double* scores2d;         // (m) in [0, 1]
  const int64_t* classes2d;       // (m)
  int32_t n;
  int32_t cameras;
  int32_t measured;               // 0: nothing was measured this frame (no miss is counted); 2: by a weaker detector than usual
};

// Published tracks in the fixed frame; every array has room for `capacity` rows.
struct PerceptTrackingOutput {
  uint8_t* id;             // (capacity, 16)
  uint8_t* state;          // (capacity)
  double* class_probs;     // (capacity, 8)
  double* existence;       // (capacity)
  double* boxes;           // (capacity, 7)
  double* velocity;        // (capacity, 2)
  double* acceleration;    // (capacity, 2)
  double* yaw_rate;        // (capacity)
  double* pose_cov;        // (capacity, 36)
  double* twist_cov;       // (capacity, 36)
  int64_t* age_ns;         // (capacity)
  int64_t* since_ns;       // (capacity)
  uint32_t* sensors;       // (capacity)
  uint8_t* stationary;     // (capacity)
  int64_t* number;         // (capacity) birth number, from 1
  int32_t capacity;
};

// parameters: (globals + 8 * per class) doubles; model: existence weights, or null for the Bayes update. Returns null on bad sizes.
PERCEPT_API void* percept_tracker_create(const double* parameters, int64_t n_parameters, const double* model,
                                         int64_t n_model, uint64_t seed);
PERCEPT_API void percept_tracker_destroy(void* tracker);
PERCEPT_API void percept_tracker_reset(void* tracker);
// Number of published tracks, or -1 bad arguments, -2 non-finite input.
PERCEPT_API int32_t percept_tracker_step(void* tracker, const PerceptTrackingFrame* frame, PerceptTrackingOutput* out);
// All live tracks: numbers (cap), classes (cap), features (cap, F), boxes (cap, 7) fixed frame, existence (cap). Returns how many, or -1.
PERCEPT_API int32_t percept_tracker_export(void* tracker, int64_t* numbers, int64_t* classes, double* features, double* boxes,
                                           double* existence, int32_t capacity);
// Writes all state as bytes of this build; returns how many, or minus the bytes needed when `capacity` is too small.
PERCEPT_API int64_t percept_tracker_save(const void* tracker, uint8_t* out, int64_t capacity);
// Takes over the tracks that another tracker saved. Number of tracks, -1 for bytes of another build or cut short, -2 not finite.
PERCEPT_API int32_t percept_tracker_restore(void* tracker, const uint8_t* in, int64_t size);
// Innovation consistency per class and range (up to 15, 30, 50 m, beyond): (8, 4, 5) = matches, sum of squared Mahalanobis
// distance, degrees of freedom, beyond the 95% point, sum of log likelihoods.
PERCEPT_API int32_t percept_tracker_consistency(void* tracker, double* out);
// Pairwise overlap of (n, 7) and (m, 7) boxes; kind 0 IoU 3D, 1 IoU bird's eye, 2 GIoU 3D. out (n, m).
PERCEPT_API int32_t percept_tracking_overlap(const double* a, int64_t n, const double* b, int64_t m, int32_t kind,
                                             double* out);
// Optimal assignment of a dense cost (n, m); entries >= forbidden are never matched, as many matches as possible first.
// row_to_col (n) gets a column or -1. Returns the number of matches, or -1.
PERCEPT_API int32_t percept_tracking_assign(const double* cost, int64_t n, int64_t m, double forbidden,
                                            int64_t* row_to_col);

// CLEAR MOT counts of one sequence. Ground truth and result rows are grouped by frame (gt_from, row_from: frames + 1);
// pair_from (frames): start of each frame's dense (gt, rows) overlaps. ignorable: may be left out when unmatched (rows) or
// is not counted (gt). keep (result tracks): 0 = track left out. row_valid: rows matched so far, kept by the caller between
// thresholds. gt_row: matched row of each ground truth or -1. counts (8): gt, tp, fp, fn, ignored tp, sum of overlaps,
// identity switches, fragmentations.
PERCEPT_API int32_t percept_mot_count(int64_t frames, const int64_t* gt_from, const uint8_t* gt_ignorable,
                                      const int64_t* gt_track, int64_t gt_tracks, const int64_t* row_from,
                                      const int64_t* row_track, const uint8_t* row_ignorable, const int64_t* pair_from,
                                      const double* overlaps, double least, const uint8_t* keep, uint8_t* row_valid,
                                      int64_t* gt_row, double* counts);
