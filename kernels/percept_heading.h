// What shows which end of a vehicle is its front: heights along its length.
#pragma once
#include "percept_kernels.h"

#define PERCEPT_HEADING_BINS 20
#define PERCEPT_HEADING_FEATURES (4 * PERCEPT_HEADING_BINS + 7)

// points: `count` points of 3 floats, `point_bytes` apart, in the sensor's frame; base_SE3_sensor: 16 doubles, row by row.
// boxes: (n, 7) x, y, z, length, width, height, yaw in the base frame. features: (n, PERCEPT_HEADING_FEATURES); inside: (n,) points
// in each box, 0.3 m wider at its sides and from 0.05 m above its lower face. A box's row: for each of the bins along its
// length, from the back to the front that its yaw says: greatest, middle and least height above the lower face, metres (0 where
// no point is), and the share of points on a logarithmic scale; then the direction to the origin of the base frame (along,
// left of the yaw), its distance / 50 m, length / 5 m, width / 2 m, height / 2 m, log(points) / 7.
// Returns 0, < 0 on bad arguments.
PERCEPT_API int32_t percept_heading_profiles(const uint8_t *points, int64_t count, int64_t point_bytes,
                                             const double *base_SE3_sensor, const double *boxes, int64_t n, double *features,
                                             int64_t *inside);
