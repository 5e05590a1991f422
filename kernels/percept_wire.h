// Track arrays as CDR bytes (OMG CDR version 1, little endian), laid down in one pass; see percept_ros/wire.py.
#pragma once
#include "percept_kernels.h"

// Columns of all tracks, row major; sizes are in PerceptTrackSizes.
typedef struct {
  const uint8_t *id;              // (tracks, 16)
  const uint8_t *state;           // (tracks,)
  const uint8_t *stationary;      // (tracks,)
  const uint8_t *kind;            // (classes,) 0 = heading means nothing, 1 = it does; + 2 = drawn as a cylinder
  const double *probabilities;    // (tracks, classes)
  const double *existence;        // (tracks,)
  const double *boxes;            // (tracks, 7) x, y, z, l, w, h, yaw
  const double *velocity;         // (tracks, 2)
  const double *acceleration;     // (tracks, 2)
  const double *yaw_rate;         // (tracks,)
  const double *pose_covariance;  // (tracks, 6, 6)
  const double *twist_covariance; // (tracks, 6, 6)
  const int64_t *age_ns;          // (tracks,)
  const int64_t *since_ns;        // (tracks,) since the last measurement
  const uint32_t *sensors;        // (tracks,)
  const double *paths;            // (forecasts, options, steps, 3) x, y, yaw
  const double *confidence;       // (forecasts, options)
  const double *sigma;            // (forecasts, options, steps)
  const int64_t *used;            // (forecasts,) valid steps of each
  const uint8_t *method;          // (forecasts,) 0 = no path
} PerceptTrackColumns;

typedef struct {
  int64_t tracks, classes, forecasts, options, steps, step_ns;
} PerceptTrackSizes;

// Write the elements of ObstacleTrack[] (without their count) from `out + at`; `at` counts from behind the encapsulation
// header. Returns where they end, -1 on bad arguments, -2 when `capacity` bytes do not suffice.
PERCEPT_API int64_t percept_wire_tracks(uint8_t *out, int64_t capacity, int64_t at, const PerceptTrackSizes *sizes,
                                        const PerceptTrackColumns *columns);
