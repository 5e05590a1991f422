// Ray casting of a spinning LiDAR against convex polyhedra and a height field.
#pragma once
#include "percept_kernels.h"

// Materials of a solid; `parameter` of the solid means:
//   solid: gloss in [0, 1] (share of the light that leaves as by a mirror); glass: probability that a ray returns from the pane;
//   foliage: mean free path, m; fence: covered share in [0, 1]; retro: as solid, but bright from every angle.
enum PerceptMaterial { PERCEPT_SOLID = 0, PERCEPT_GLASS = 1, PERCEPT_FOLIAGE = 2, PERCEPT_FENCE = 3, PERCEPT_RETRO = 4 };

// Object index of a returned ray that is no solid's.
enum PerceptReturn { PERCEPT_GROUND = -1, PERCEPT_SCENERY = -2, PERCEPT_NOTHING = -3, PERCEPT_GHOST = -4 };

constexpr int32_t PERCEPT_MAX_PLANES = 12;
constexpr int32_t PERCEPT_MAX_VERTICES = 16;

struct PerceptScene {
  int32_t solids;
  const float *planes;          // [solids][12][4] outward unit normal and offset: inside is n . x <= d; local frame, m
  const uint8_t *plane_count;   // [solids] 4 to 12
  const float *vertices;        // [solids][16][3] corners, local frame, m
  const uint8_t *vertex_count;  // [solids] 4 to 16
  const uint8_t *material;      // [solids] PerceptMaterial
  const float *reflectivity;    // [solids] in [0, 1]
  const float *parameter;       // [solids] see PerceptMaterial
  const int32_t *object;        // [solids] index of the object it belongs to, or PERCEPT_SCENERY
  const float *velocity;        // [solids][3] of the local frame, m/s; solids are given as they stand at time 0
  int32_t ground_nx, ground_ny; // height field, bilinear between nodes, continued flat outside; 0 = no ground
  float ground_x_m, ground_y_m, ground_cell_m;  // position of node (0, 0) and node spacing
  const float *ground_height;                   // [nx][ny] m
  float ground_slope;                           // upper bound of |gradient|
  int32_t paint_nx, paint_ny;                   // ground reflectivity map, nearest cell
  float paint_x_m, paint_y_m, paint_cell_m;
  const float *paint;                           // [nx][ny] in [0, 1]
};

struct PerceptSpin {
  int32_t columns, beams;
  const float *azimuth;         // [columns] rad, sensor frame
  const float *time;            // [columns] s after time 0
  const float *pose;            // [columns][12] local_SE3_sensor, rows of [R | t]
  const float *elevation;       // [beams] rad
  const float *azimuth_offset;  // [beams] rad
  const float *range_bias;      // [beams] m
  float azimuth_jitter_rad, elevation_jitter_rad;  // one sigma a ray
  float range_sigma_m, min_range_m, max_range_m;
  float reach_m;                // distance at which a white surface met head on is seen with even odds
  float drop_probability;
  float ghost_probability;      // of a downward ray that meets a vehicle or the road
  float ghost_mean_m;           // mean extra path of a ghost
  float intensity_gain, intensity_gamma, intensity_sigma;
  float intensity_falloff;      // 0 = calibrated reflectivity, 2 = raw power
  uint32_t seed;
  int32_t threads;
};

// points [columns * beams][3] in the sensor frame at each column's own time, range [columns * beams] (0 = no return),
// intensity in [0, 1], object as above. Returns the number of returns, or -1 on bad arguments.
PERCEPT_API int32_t percept_raycast_spin(const PerceptScene *scene, const PerceptSpin *spin, float *points, float *range,
                                         float *intensity, int32_t *object);

// A pinhole camera in the same scene.
struct PerceptView {
  int32_t width, height;
  float fx, fy, cx, cy;              // px
  float pose[12];                    // local_SE3_camera (optical axes), rows of [R | t]
  float time;                        // s: solids are moved by velocity * time
  float sun[3];                      // unit vector towards the sun, local frame
  float ambient, diffuse;            // shares of light
  float fog_m;                       // distance at which 63 % of the colour is haze; 0 = clear
  float sky_top[3], sky_horizon[3];  // BGR, 0 to 255
  float gain[3];                     // exposure and colour cast, BGR
  float noise;                       // one sigma of the sensor's noise, grey levels
  float texture;                     // relative amplitude of surface texture
  float reach_m;                     // nothing farther is drawn
  uint32_t seed;
  int32_t label_nx, label_ny;        // ground label map, nearest cell, label 0 outside
  float label_x_m, label_y_m, label_cell_m;
  const uint8_t *labels;             // [nx][ny]
  const uint8_t *label_colours;      // [256][3] BGR
};

// prism: [solids] 1 where corners are two rings of 8, 0 where two rings of 4 (planes: bottom, top, sides in corner order).
// colours: [solids][3] BGR. image: [height][width][3] BGR. object: [height][width] object index, PERCEPT_GROUND,
// PERCEPT_SCENERY or PERCEPT_NOTHING (sky). depth: [height][width] m along the optical axis, 0 = sky.
// Returns 0, or -1 on bad arguments.
PERCEPT_API int32_t percept_render_view(const PerceptScene *scene, const PerceptView *view, const uint8_t *prism,
                                        const uint8_t *colours, uint8_t *image, int32_t *object, float *depth);
