#include <algorithm>

#include "cluster_parts.h"

namespace percept {
namespace {

constexpr float kNear = 0.05f;  // distances below this count as on the edge
constexpr int kCover = 16;      // pieces an edge is cut into at most to see how much of it has returns

struct Span {
  float low1, high1, low2, high2;
};

struct Axes {
  float c, s;
  float first(const Point2& p) const { return c * p.x + s * p.y; }
  float second(const Point2& p) const { return c * p.y - s * p.x; }
};

// Extents of the outline; of a long outline one point in forty at each end does not count (mirrors, passers-by).
Span span_of(const std::vector<Point2>& outline, const Axes& axes) {
  static thread_local std::vector<float> along, across;
  const size_t n = outline.size(), spare = n / 40;
  along.resize(n), across.resize(n);
  for (size_t i = 0; i < n; ++i) along[i] = axes.first(outline[i]), across[i] = axes.second(outline[i]);
  auto ends = [&](std::vector<float>& v, float& low, float& high) {
    if (spare > 0) {
      std::nth_element(v.begin(), v.begin() + spare, v.end());
      low = v[spare];
      std::nth_element(v.begin() + spare, v.end() - 1 - spare, v.end());
      high = v[n - 1 - spare];
      return;
    }
    const auto [a, b] = std::minmax_element(v.begin(), v.end());
    low = *a, high = *b;
  };
  Span span{};
  ends(along, span.low1, span.high1), ends(across, span.low2, span.high2);
  return span;
}

// Coordinate of the edge that faces a sensor at 0, or NaN when the sensor is between both edges.
float facing(float low, float high) { return low > 0.0f ? low : high < 0.0f ? high : NAN; }

float edge_distance(float a, float b, float edge1, float edge2) {
  const float d1 = std::isnan(edge1) ? 1e9f : std::fabs(a - edge1);
  const float d2 = std::isnan(edge2) ? 1e9f : std::fabs(b - edge2);
  return std::min(d1, d2);
}

// Closeness of the outline to the visible edges (higher is better) after Zhang et al., "Efficient L-Shape Fitting for
// Vehicle Detection Using Laser Scanners", IV 2017, with the hidden edges left out.
float closeness(const std::vector<Point2>& outline, const Axes& axes) {
  const Span span = span_of(outline, axes);
  const float edge1 = facing(span.low1, span.high1), edge2 = facing(span.low2, span.high2);
  if (std::isnan(edge1) && std::isnan(edge2)) return -1e8f;
  float score = 0.0f;
  for (const Point2& p : outline) {
    score += 1.0f / std::max(edge_distance(axes.first(p), axes.second(p), edge1, edge2), kNear);
  }
  const float area = (span.high1 - span.low1 + 0.3f) * (span.high2 - span.low2 + 0.3f);
  return score / outline.size() - 0.3f * area;
}

float best_yaw(const std::vector<Point2>& outline) {
  constexpr float kHalfPi = kTwoPi / 4, kCoarse = kHalfPi / 30;
  auto score = [&](float yaw) { return closeness(outline, Axes{std::cos(yaw), std::sin(yaw)}); };
  float best = 0.0f, top = -1e9f;
  for (int i = 0; i < 30; ++i) {
    if (const float s = score(i * kCoarse); s > top) top = s, best = i * kCoarse;
  }
  const float centre = best;
  for (int i = -2; i <= 2; ++i) {
    const float yaw = centre + i * kCoarse / 3;
    if (const float s = score(yaw); i != 0 && s > top) top = s, best = yaw;
  }
  return best < 0.0f ? best + kHalfPi : best >= kHalfPi ? best - kHalfPi : best;
}

float covered(const bool* piece, int pieces) { return std::count(piece, piece + pieces, true) / static_cast<float>(pieces); }

}  // namespace

Rectangle fit_rectangle(const std::vector<Point2>& outline) {
  const float yaw = best_yaw(outline);
  const Axes axes{std::cos(yaw), std::sin(yaw)};
  Span span = span_of(outline, axes);
  const float edge1 = facing(span.low1, span.high1), edge2 = facing(span.low2, span.high2);
  // A hidden end counts to the last return: one return may stand for half a metre there.
  Span whole{1e9f, -1e9f, 1e9f, -1e9f};
  for (const Point2& p : outline) {
    const float a = axes.first(p), b = axes.second(p);
    whole.low1 = std::min(whole.low1, a), whole.high1 = std::max(whole.high1, a);
    whole.low2 = std::min(whole.low2, b), whole.high2 = std::max(whole.high2, b);
  }
  if (edge1 == span.low1) span.high1 = whole.high1;
  if (edge1 == span.high1) span.low1 = whole.low1;
  if (edge2 == span.low2) span.high2 = whole.high2;
  if (edge2 == span.high2) span.low2 = whole.low2;
  const float length = span.high1 - span.low1, width = span.high2 - span.low2;
  const int pieces = std::clamp(static_cast<int>(outline.size() / 3), 2, kCover);
  bool along[kCover] = {}, across[kCover] = {};
  float residual = 0.0f;
  for (const Point2& p : outline) {
    const float a = axes.first(p), b = axes.second(p);
    const float d = edge_distance(a, b, edge1, edge2);
    residual += std::min(d, 2.0f);
    const int ia = std::clamp(static_cast<int>((a - span.low1) / std::max(length, 0.01f) * pieces), 0, pieces - 1);
    const int ib = std::clamp(static_cast<int>((b - span.low2) / std::max(width, 0.01f) * pieces), 0, pieces - 1);
    if (std::fabs(b - edge2) < 0.25f) along[ia] = true;
    if (std::fabs(a - edge1) < 0.25f) across[ib] = true;
  }
  const float m1 = 0.5f * (span.low1 + span.high1), m2 = 0.5f * (span.low2 + span.high2);
  return Rectangle{axes.c * m1 - axes.s * m2, axes.s * m1 + axes.c * m2,   yaw,            length, width,
                   residual / outline.size(), covered(along, pieces), covered(across, pieces)};
}

}  // namespace percept

int32_t percept_fit_rectangle(const float* points, int32_t count, const double* sensor_xy, float* rectangle) {
  if (points == nullptr || count < 1 || sensor_xy == nullptr || rectangle == nullptr) return -1;
  const float x = static_cast<float>(sensor_xy[0]), y = static_cast<float>(sensor_xy[1]);
  std::vector<percept::Point2> outline(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    outline[i] = {points[2 * i] - x, points[2 * i + 1] - y};
    if (!std::isfinite(outline[i].x) || !std::isfinite(outline[i].y)) return -1;
  }
  const percept::Rectangle r = percept::fit_rectangle(outline);
  const float row[8] = {r.x + x, r.y + y, r.yaw, r.length, r.width, r.residual, r.cover_a, r.cover_b};
  std::copy(row, row + 8, rectangle);
  return 0;
}
