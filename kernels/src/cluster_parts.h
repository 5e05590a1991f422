// What cluster.cpp, cells.cpp, ground.cpp and rectangle.cpp share.
#pragma once
#include <cmath>
#include <vector>

#include "percept_cluster.h"

namespace percept {

// A return in the base frame with its place around the sensor.
struct Return {
  float x, y, z;
  float range, azimuth;  // horizontal, from the sensor; azimuth in [0, 2 pi)
  float height;          // above the ground, set by Ground
  int32_t source;        // row in the input
};

constexpr float kTwoPi = 6.283185307179586f;

// Height of the ground on a polar grid around the sensor.
class Ground {
 public:
  static constexpr int kSectors = 120;
  static constexpr float kBin = 1.0f;

  // Estimates the grid and sets the height of every return.
  void estimate(std::vector<Return>& returns, const PerceptClusterConfig& config);
  float at(float range, float azimuth) const;

 private:
  void sort_into_cells(const std::vector<Return>& returns);
  float road_height(const std::vector<Return>& returns, float prior) const;
  void walk_sector(int sector, const std::vector<Return>& returns, float road, float slope);
  struct Plane {
    float a, b, c;
    float at(float x, float y) const { return a * x + b * y + c; }
  };
  template <typename Visit>
  void for_cells(Visit visit) const;
  Plane fit_plane(float road, float slope) const;
  void smooth_and_fill();

  int bins_ = 0;
  std::vector<int32_t> start_, order_, key_;
  std::vector<float> z_, raw_;
  std::vector<uint8_t> seen_;
};

struct Point2 {
  float x, y;
};

struct Rectangle {
  float x, y, yaw, length, width, residual, cover_a, cover_b;
};

// Rectangle round an outline whose visible edges lie closest to it. The sensor is at the origin of the outline.
Rectangle fit_rectangle(const std::vector<Point2>& outline);

constexpr int kHeightBits = 32;
constexpr float kHeightStep = 0.15f;

struct Cell {
  int32_t ix, iy, core;  // core: number of returns below core_height_m
  uint32_t heights;      // bit k: a return between k and k + 1 height steps above the ground
  float range, top;
  bool cut, tall;
};

struct Extent {
  int32_t low_x = 1 << 30, high_x = -(1 << 30), low_y = 1 << 30, high_y = -(1 << 30);
  float top = 0.0f;
  float length(float cell_m) const {
    return cell_m * std::hypot(static_cast<float>(high_x - low_x + 1), static_cast<float>(high_y - low_y + 1));
  }
};

// Everything one sweep needs, kept between calls.
struct Workspace {
  std::vector<Return> returns, obstacles;
  Ground ground;
  std::vector<int32_t> grid, cell_of, parent, cluster_of, first, members;
  std::vector<Cell> cells;
  std::vector<Extent> extent;
  std::vector<uint8_t> split, loose;
  std::vector<float> profile;
  std::vector<Point2> outline;
  float ceiling = 0.0f;  // tangent of the highest beam's elevation
  float density = 1.0f;  // returns per radian of azimuth and unit of elevation tangent, near the horizon
};

struct Job {
  const PerceptClusterConfig& config;
  float sensor_x, sensor_y, sensor_z;
  Workspace& work;
};

// Highest step reached from the lowest without a gap that the beam spacing does not explain, metres above the ground.
float joined_top(uint32_t heights, float range);

// Fills work.cells, work.grid and work.cell_of from work.obstacles.
void rasterise(const Job& job);

// Returns grouped by cluster: work.members[work.first[k] .. work.first[k + 1]) of cluster k. The number of clusters.
int32_t group(const Job& job);

}  // namespace percept
