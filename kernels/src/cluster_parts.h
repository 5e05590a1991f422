// What cluster.cpp, ground.cpp and rectangle.cpp share.
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

}  // namespace percept
