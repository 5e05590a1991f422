// Predicted paths of all tracks in one pass: the motion that goes on, blended with a learned path, and headings along it.
#pragma once
#include "percept_kernels.h"

// boxes (tracks, 7) x, y, z, l, w, h, yaw; velocity (tracks, 2) m/s; turn_radps (tracks,), 0 = straight: the tracker's motion.
// straight (tracks, 2) m/s goes on instead where own (tracks,) is 0. learned (tracks, 2, >= steps), rows of `stride`, float32 offsets along x
// and y, blended in by share (tracks,) in [0, 1]; it may be null when no share is above 0. Where the result is not the tracker's own
// motion, yaw turns as the course of the path turns, and is held where a step is shorter than least_m.
// paths (tracks, steps, 3) x, y, yaw in [-pi, pi) at step_s, 2 step_s, ... Returns 0, < 0 on bad arguments.
PERCEPT_API int32_t percept_paths(const double *boxes, const double *velocity, const double *turn_radps,
                                  const double *straight, const uint8_t *own, const double *share, const float *learned,
                                  int64_t tracks, int64_t steps, int64_t stride, double step_s, double least_m,
                                  double *paths);

// What every expert foretells, in one pass. window (tracks, 2, width) float32 displacements a step, newest last; age (tracks,)
// float32 displacements seen; groups (tracks,) in [0, kinds); here (tracks, 7) boxes; velocity and turn_radps as above.
// learned_at (tracks, marks, 2) float32 offsets of the network after times (marks,) s. spans (count,) >= 1 of the straight
// experts; the tracker's own motion comes last. limits (3, kinds): least and most noise, most step.
// straight (count + 1, tracks, 2) m/s; said (marks, count + 2, tracks, 2) positions, the network's first; familiar (tracks,)
// share in [0, 1] (core/path_gate.py, familiarity). Returns 0, < 0 on bad arguments.
PERCEPT_API int32_t percept_path_experts(const float *window, const float *age, const int64_t *groups, const double *here,
                                         const double *velocity, const double *turn_radps, const float *learned_at,
                                         const double *times, const int64_t *spans, const double *limits, int64_t tracks,
                                         int64_t width, int64_t marks, int64_t count, int64_t kinds, double step_s,
                                         double *straight, double *said, double *familiar);

// How far off promises were. keys and groups (promised,) of tracks, said (experts, promised, 2) positions; sorted (present,)
// ascending keys of the tracks that are here, order (present,) their rows in position (rows, stride), x and y first. usual
// (kinds,) in [0, experts): the expert that others are compared with. count (kinds,), and sums, over (error less the usual
// one's) and squares (of that), each (experts, kinds), fade by e^(-judged / memory), infinite = never, and take in what was
// judged. Promises of absent tracks and of no number are left out. Returns 0, < 0 on bad arguments.
PERCEPT_API int32_t percept_path_judge(const uint64_t *keys, const int64_t *groups, const double *said, int64_t promised,
                                       const uint64_t *sorted, const int64_t *order, int64_t present, const double *position,
                                       int64_t stride, int64_t rows, const int64_t *usual, int64_t experts, int64_t kinds,
                                       double memory, double *count, double *sums, double *over, double *squares);

// One sigma along paths: of the network (tracks, stride) float32, at least least_m, where share (tracks,) >= 0.5; elsewhere
// sqrt(position + t^2 speed) of the variances position and speed (tracks,) at times (steps,). spread (tracks, steps).
PERCEPT_API int32_t percept_path_spread(const float *sigma, const double *share, const double *position, const double *speed,
                                        const double *times, int64_t tracks, int64_t steps, int64_t stride, double least_m,
                                        double *spread);

// One step of the path network for all tracks (train/predictor_network.py, StepGraph). sizes (11,): members M, hidden H,
// features F, width W, lags S, groups G, stages A, terms P, horizon T, heads B (outputs of a member's first layer, a multiple
// of 4), doubts D. scales (4,): step_s, small_m, reach_m, least sigma. weights (count,) float32, one after the other, outputs
// of a layer four by four, the last four filled up with 0: looks (ceil((S + W - 1) / 4), W, 4); gates (M, H, H + F, 4), rows of
// the hidden values first, and their bias (M, H, 4); first (M, B / 4, H + F, 4) and bias (M, B); last (O, M B, 4) and bias
// (O, 4), O = ceil((2 P + D) / 4); terms (W + 1, G A P); edges (A - 1); basis (P, T); doubt_basis (D, T); sigma_scale (G, T);
// trust (G).
// In: group (tracks, G), usually one-hot; displacement, velocity (tracks, 2); fresh, age (tracks, 1); window (tracks, 2, W);
// hidden, cell (tracks, M H). Out: offsets (tracks, 2, T); linear (tracks, 2, P); sigma (tracks, T); the next window, age,
// hidden, cell; none may overlap an input. All float32. Returns 0, < 0 on bad arguments, 1 when an output is not finite.
PERCEPT_API int32_t percept_path_step(const float *weights, int64_t count, const int64_t *sizes, const double *scales,
                                      int64_t tracks, const float *group, const float *displacement,
                                      const float *velocity, const float *fresh, const float *window, const float *age,
                                      const float *hidden, const float *cell, float *offsets, float *linear, float *sigma,
                                      float *next_window, float *next_age, float *next_hidden, float *next_cell);
