// Predicted paths of all tracks in one pass: the motion that goes on, blended with a learned path, and headings along it.
#pragma once
#include "percept_kernels.h"

// boxes (tracks, 7) x, y, z, l, w, h, yaw; velocity (tracks, 2) m/s; turn_radps (tracks,), 0 = straight: the tracker's motion.
// straight (tracks, 2) m/s goes on instead where own (tracks,) is 0. learned (tracks, 2, steps) float32 offsets along x and y,
// blended in by share (tracks,) in [0, 1]; it may be null when no share is above 0. Where the result is not the tracker's own
// motion, yaw turns as the course of the path turns, and is held where a step is shorter than least_m.
// paths (tracks, steps, 3) x, y, yaw in [-pi, pi) at step_s, 2 step_s, ... Returns 0, < 0 on bad arguments.
PERCEPT_API int32_t percept_paths(const double *boxes, const double *velocity, const double *turn_radps,
                                  const double *straight, const uint8_t *own, const double *share, const float *learned,
                                  int64_t tracks, int64_t steps, double step_s, double least_m, double *paths);
