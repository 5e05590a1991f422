// Geometric obstacle extraction: ground, clusters, oriented rectangles. Same rules as percept_kernels.h.
#pragma once
#include "percept_kernels.h"

// Distances in metres, in the base frame unless said otherwise. All fields must be finite.
struct PerceptClusterConfig {
  float min_range_m;         // nearer returns (horizontal distance from the sensor) are ignored, > 0
  float max_range_m;         // farther returns are ignored, at most 200
  float ground_prior_m;      // |road height - 0| near the vehicle is at most this
  float ground_slope;        // largest slope the ground may have, rise over run
  float ground_clearance_m;  // returns lower than this above the ground are ground
  float max_height_m;        // returns higher than this above the ground are ignored
  float core_height_m;       // only returns below this join cells to clusters (canopies do not)
  float tall_m;              // cells with returns above this are tall, others low
  float mixed_length_m;      // clusters longer than this are parted into their low and tall cells: cars beside walls
  float cell_m;              // edge of a bird's-eye cell
  float join_near_m;         // cells this close join at range 0 ...
  float join_per_m;          // ... plus this much a metre of range ...
  float join_far_m;          // ... and at most this
  float split_length_m;      // clusters longer than this are taken apart again with half the join distance
  int32_t min_points;        // smaller clusters are dropped
};

// Columns of one row of the result.
enum PerceptClusterColumn {
  CLUSTER_X,          // centre of the fitted rectangle
  CLUSTER_Y,
  CLUSTER_YAW,        // direction of the rectangle's first edge, [0, pi/2)
  CLUSTER_LENGTH,     // extent along yaw
  CLUSTER_WIDTH,      // extent across yaw
  CLUSTER_GROUND_Z,   // height of the ground at the centre
  CLUSTER_BOTTOM,     // lowest return above the ground
  CLUSTER_TOP,        // highest return above the ground that is joined without a gap to those below
  CLUSTER_POINTS,     // number of returns
  CLUSTER_RANGE,      // horizontal distance of the nearest return from the sensor
  CLUSTER_RESIDUAL,   // mean distance of the outline from the rectangle's visible edges
  CLUSTER_COVER_A,    // share of the visible edge along yaw that has returns near it, [0, 1]
  CLUSTER_COVER_B,    // share of the visible edge across yaw
  CLUSTER_HIDDEN,     // share of the two outline ends beside which something nearer stands: 0, 0.5 or 1
  CLUSTER_OVERHANG,   // share of returns above core_height_m
  CLUSTER_DEPTH,      // mean distance of all returns behind the outline: small for surfaces, large for foliage
  CLUSTER_SPLIT,      // 1 when it is a part of a cluster that was taken apart
  CLUSTER_CUT,        // 1 when the highest return is near the sensor's upper limit: the top may lie higher
  CLUSTER_FILL,       // returns over those expected of a solid surface as wide and as high, about 1 for solid bodies
  CLUSTER_COLUMNS
};

// Clusters of one sweep. points: row i is at points + i * stride (floats; x y z first), sensor frame, non-finite rows are
// skipped. base_SE3_lidar: 16 doubles, row major. clusters: max_clusters x CLUSTER_COLUMNS floats, nearest first. labels:
// `count` ints (cluster row, -1 = none, -2 = ground), may be null. Returns the number of clusters, -1 on bad arguments.
PERCEPT_API int32_t percept_cluster(const float* points, int64_t count, int64_t stride, const double* base_SE3_lidar,
                                    const PerceptClusterConfig* config, float* clusters, int32_t max_clusters,
                                    int32_t* labels);

// Rectangle round points seen from `sensor_xy`, by their nearest visible edges. points: count x 2 floats. rectangle: 8 floats
// x, y, yaw in [0, pi/2), extent along yaw, extent across, mean distance to the visible edges, cover along, cover across.
// Returns 0, or -1 on bad arguments (no points, non-finite values).
PERCEPT_API int32_t percept_fit_rectangle(const float* points, int32_t count, const double* sensor_xy, float* rectangle);
