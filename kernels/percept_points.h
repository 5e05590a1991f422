// Point clouds: one pass from the bytes of a PointCloud2 to filtered arrays, and motion compensation.
#pragma once
#include <cstddef>
#include <cstdint>

#include "percept_kernels.h"

// Reads `height` rows of `width` points, drops points that are not finite, outside the range limits or inside the ego box, and
// packs the rest.
//   data, size      the message's bytes; row_step, point_step in bytes
//   offsets         6 byte offsets within a point: x y z intensity ring time; -1 = field absent (x y z must be there)
//   datatypes       6 sensor_msgs/PointField datatypes (1 INT8 ... 8 FLOAT64); x y z must be 7 or 8 and alike
//   swap            non-zero when the bytes of each value are in the other order than this machine's
//   range_m         2: smallest and largest kept range
//   ego_box_m       4: x min, x max, y min, y max in the base frame, or null = no ego box
//   base_SE3_lidar  12: the upper three rows of the transform, row major; read only where ego_box_m is given
//   points          (height * width, 3) out; intensity, ring, time: (height * width) out, may be null
//   dropped         3 out: not finite, out of range, inside the ego box
//   extent          3 out: of the kept points the largest intensity, and the smallest and largest time (NaN where none)
// Returns the number of kept points, -1 for impossible arguments.
PERCEPT_API int64_t percept_points_decode(const uint8_t* data, int64_t size, int64_t height, int64_t width, int64_t row_step,
                                          int64_t point_step, const int64_t* offsets, const int32_t* datatypes, int32_t swap,
                                          const double* range_m, const double* ego_box_m, const double* base_SE3_lidar,
                                          float* points, float* intensity, uint16_t* ring, double* time, int64_t* dropped,
                                          double* extent);

// Moves each point by the pose of its time, linear between the nodes of a table.
//   points          first value of the first point; consecutive points are `stride` bytes apart, x y z are adjacent floats
//   time_s          (count) time of each point
//   table           (nodes, 12) upper three rows of reference_SE3_lidar at start_s, start_s + step_s, ...
//   out             (count, 3)
// Returns 0, -1 for impossible arguments.
PERCEPT_API int32_t percept_points_deskew(const uint8_t* points, int64_t stride, const float* time_s, int64_t count,
                                          const double* table, int64_t nodes, double start_s, double step_s, float* out);
