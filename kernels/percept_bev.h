// Bird's-eye rasteriser, ground plane, and rotated-box kernels. All frames: x forward, y left, z up, metres, radians.
#pragma once
#include "percept_kernels.h"

// Geometry of a bird's-eye grid. Cell (iy, ix) covers x in [x_min + ix cell, + cell), y likewise.
struct percept_bev_grid {
  float x_min_m, y_min_m, cell_m;
  int32_t nx, ny;
  float max_range_m;      // points farther from the base origin are dropped
  int32_t slices;         // 1 to 16 height slices
  float edges_m[17];      // slices + 1 ascending heights above the ground
};

// Points as they lie in memory: float32 x, y, z at these byte offsets, one point every stride_bytes.
struct percept_points {
  const uint8_t* data;
  int64_t count;
  int64_t stride_bytes;
  int32_t x_offset, y_offset, z_offset;
};

// Scratch of one rasteriser; one thread at a time. NULL on bad arguments.
PERCEPT_API void* percept_bev_create(const percept_bev_grid* grid);
PERCEPT_API void percept_bev_destroy(void* scratch);

// Fills out[slices + 3][ny][nx] (saturating count 1 - 2^-n of each slice, maximum and minimum height / 4 m clipped to
// [-0.25, 1], range / max_range in every cell). base_SE3_sensor: 12 floats, row major 3 x 4. plane: a, b, c of
// z = a x + b y + c. `first` != 0 writes the whole buffer; 0 trusts that out holds the previous call's result and
// clears only what that call touched. Returns the number of occupied cells, or < 0.
PERCEPT_API int32_t percept_bev_rasterise(void* scratch, const percept_points* points, const float* base_SE3_sensor,
                                          const float* plane, int32_t first, float* out);

// Robust road plane z = a x + b y + c in the base frame: plane[3]; searched within c in [low_m, low_m + 6.4).
// Ghost points far below the road and walls do not draw it. Returns supporting cells (0: none found, plane = 0).
PERCEPT_API int32_t percept_ground_plane(const percept_points* points, const float* base_SE3_sensor, float low_m,
                                         float* plane);

// Areas of overlap over union of (x, y, l, w, yaw) rows: out[n][m].
PERCEPT_API int32_t percept_bev_iou(const double* a, int32_t n, const double* b, int32_t m, double* out);

// Greedy suppression of rows (x, y, l, w, yaw) sorted by falling score: keep[i] = 1 or 0. Returns the number kept.
PERCEPT_API int32_t percept_nms_rotated(const double* boxes, int32_t n, double iou_threshold, uint8_t* keep);

// Strict 3 x 3 maxima of heat[classes][ny][nx] at or above threshold, best first; ties break by index.
// index[k] is the flat index. Returns the number found (at most capacity).
PERCEPT_API int32_t percept_heat_peaks(const float* heat, int32_t classes, int32_t ny, int32_t nx, float threshold,
                                       int32_t capacity, int32_t* index);
