// Pillars of a sweep: returns gathered by bird's-eye cell, as PointPillars and CenterPoint read them.
#pragma once
#include "percept_kernels.h"

struct PerceptPillarGrid {
  float low[3], high[3];  // x, y, z range of the model, metres, model frame; high is exclusive
  float cell[3];          // size of a pillar
  int32_t nx, ny;         // cells along x and y
  int32_t max_pillars;    // later pillars are dropped
  int32_t max_points;     // later returns of a pillar are dropped
  int32_t features;       // 4: x y z w; 9: and offsets from the pillar's mean (3) and middle (2); 10: middle (3)
};

// points: row i is at points + i * stride (floats; x y z first), sensor frame; non-finite rows are skipped. fourth: value w of each
// return, or null (0). model_SE3_lidar: 16 doubles, row major. pillars: max_pillars x max_points x features floats; unused slots
// of used pillars and the first `dirty` pillars (those a call before used) are set to 0. cells: max_pillars x 2 (row y, column x).
// counts: returns of each pillar. Pillars come in the order of their first return. Returns their number, -1 on bad arguments.
PERCEPT_API int32_t percept_pillarise(const float* points, int64_t count, int64_t stride, const float* fourth,
                                      const double* model_SE3_lidar, const PerceptPillarGrid* grid, float* pillars,
                                      int32_t* cells, int32_t* counts, int32_t dirty);
