// The book-keeping of path prediction that every frame pays for, in a few passes over all tracks (detectors/predictor.py).
#pragma once
#include "percept_kernels.h"

// Which straight expert serves each group, and the network's error over that of the best straight one (core/path_gate.py,
// SkillGate). sums, over, squares (marks, experts, kinds): errors, errors over the usual expert's, and the squares of these;
// evidence (marks, kinds) judged positions. prior (experts, kinds), the network's first; weight (kinds,) of it; usual (kinds,) in
// [1, experts); alike (marks, kinds) positions that tell no more than one; unsure (kinds,) 1 = the least error decides at once;
// shares (marks,) of the horizon. doubt: standard errors by which an expert has to be better.
// errors (marks, experts, kinds) mean errors in any unit; straight (kinds,) in [1, experts); ratio (kinds,).
// Returns 0, < 0 on bad arguments.
PERCEPT_API int32_t percept_path_verdict(const double *sums, const double *over, const double *squares, const double *evidence,
                                         const double *prior, const double *weight, const int64_t *usual, const double *alike,
                                         const uint8_t *unsure, const double *shares, int64_t marks, int64_t experts,
                                         int64_t kinds, double doubt, double *errors, int64_t *straight, double *ratio);

// What a frame's tracks are to the path network. ids (tracks, 16); chances (tracks, classes) of each class; boxes (tracks, 7);
// velocity (tracks, 2); yaw_rate (tracks,). A class has a group, path points (steps) and whether it turns (tables (classes,)):
// it does at turn_speed m/s or more, by at most most_turn rad/s. Memory of the last call: sorted ascending keys, order (known,)
// their rows in alive (known,) and place (known, 2); elapsed: steps of the clock since, of step_s seconds.
// Out, all (tracks,) but the last: keys of the ids, the same ascending and their rows; group, points, turn (rad/s, 0 =
// straight on) and usable (position and velocity are numbers); row in the memory, -1 = new. Tensors of the network, float32:
// kind (tracks, kinds) one-hot of the group, moved and told (tracks, 2) way a step and velocity, 0 where not usable; fresh
// (tracks,). Returns 1 when the tracks are those of the memory in the same order, else 0; < 0 on bad arguments.
PERCEPT_API int32_t percept_path_scene(const uint8_t *ids, const double *chances, const double *boxes, const double *velocity,
                                       const double *yaw_rate, const int64_t *group_of, const int64_t *points_of,
                                       const uint8_t *turns_of, const uint64_t *known_sorted, const int64_t *known_order,
                                       const uint8_t *alive, const double *place, int64_t tracks, int64_t classes,
                                       int64_t kinds, int64_t known, double elapsed, double step_s, double turn_speed,
                                       double most_turn, uint64_t *keys, uint64_t *sorted, int64_t *order, int64_t *group,
                                       int64_t *points, double *turn, uint8_t *usable, int64_t *row, float *kind, float *moved,
                                       float *told, float *fresh);

// Paths of all tracks from the network's answer: what every expert foretells (percept_path_experts), the share of the network
// and the straight expert behind it, the paths (percept_paths) and one sigma along them (percept_path_spread). marks (judged,) in
// [0, steps) path points whose positions are kept; learned (tracks, 2, stride) and sigma (tracks, stride); straight_of (kinds,)
// in [1, count + 1] and share_of (kinds,): the gate's verdict; pose and twist covariance (tracks, 6, 6); names (3,) of the
// methods: network, own motion turning, straight on. said (judged, count + 2, tracks, 2), paths (tracks, steps, 3), spread
// (tracks, steps), familiar (tracks,), method (tracks,). Returns 0, < 0 on bad arguments.
PERCEPT_API int32_t percept_path_answer(const float *window, const float *age, const int64_t *groups, const double *boxes,
                                        const double *velocity, const double *turn, const uint8_t *usable,
                                        const float *learned, const float *sigma, const int64_t *marks, const double *times,
                                        const int64_t *spans, const double *limits, const int64_t *straight_of,
                                        const double *share_of, const double *pose, const double *twist, const uint8_t *names,
                                        int64_t tracks, int64_t width, int64_t judged, int64_t steps, int64_t stride,
                                        int64_t count, int64_t kinds, double step_s, double path_step_s, double least_m,
                                        double least_sigma, double *said, double *paths, double *spread, double *familiar,
                                        uint8_t *method);
