#include <algorithm>
#include <array>
#include <cmath>
#include <new>
#include <vector>

#include "percept_bev.h"

namespace {

struct Box {
  double x, y, l, w, cosine, sine, radius, area;
};

bool make_box(const double* row, Box& box) {
  for (int i = 0; i < 5; ++i)
    if (!std::isfinite(row[i])) return false;
  if (row[2] < 0.0 || row[3] < 0.0) return false;
  box = {row[0], row[1], row[2], row[3], std::cos(row[4]), std::sin(row[4]), 0.5 * std::hypot(row[2], row[3]), row[2] * row[3]};
  return true;
}

struct Polygon {
  std::array<double, 16> u, v;
  int n = 0;
  void add(double a, double b) { u[n] = a, v[n] = b, ++n; }
};

// Keeps the part of `in` where sign * (axis 0: u, axis 1: v) <= limit.
Polygon clip(const Polygon& in, int axis, double sign, double limit) {
  Polygon out;
  const double* along = axis == 0 ? in.u.data() : in.v.data();
  for (int i = 0; i < in.n; ++i) {
    const int j = i + 1 == in.n ? 0 : i + 1;
    const double a = sign * along[i] - limit, b = sign * along[j] - limit;
    if (a <= 0.0) out.add(in.u[i], in.v[i]);
    if ((a < 0.0 && b > 0.0) || (a > 0.0 && b < 0.0)) {
      const double t = a / (a - b);
      out.add(in.u[i] + t * (in.u[j] - in.u[i]), in.v[i] + t * (in.v[j] - in.v[i]));
    }
  }
  return out;
}

double shoelace(const Polygon& p) {
  double twice = 0.0;
  for (int i = 0; i < p.n; ++i) {
    const int j = i + 1 == p.n ? 0 : i + 1;
    twice += p.u[i] * p.v[j] - p.u[j] * p.v[i];
  }
  return 0.5 * std::fabs(twice);
}

// Corners of b in a's frame, clipped by a's four sides.
double overlap(const Box& a, const Box& b) {
  const double dx = b.x - a.x, dy = b.y - a.y, reach = a.radius + b.radius;
  if (dx * dx + dy * dy >= reach * reach) return 0.0;
  const double u = a.cosine * dx + a.sine * dy, v = a.cosine * dy - a.sine * dx;
  const double c = a.cosine * b.cosine + a.sine * b.sine, s = a.cosine * b.sine - a.sine * b.cosine;
  const double hu = 0.5 * (std::fabs(c) * b.l + std::fabs(s) * b.w), hv = 0.5 * (std::fabs(s) * b.l + std::fabs(c) * b.w);
  if (std::fabs(u) >= hu + 0.5 * a.l || std::fabs(v) >= hv + 0.5 * a.w) return 0.0;
  Polygon p;
  constexpr double kSigns[4][2] = {{1, 1}, {-1, 1}, {-1, -1}, {1, -1}};
  for (const auto& k : kSigns) {
    const double l = 0.5 * k[0] * b.l, w = 0.5 * k[1] * b.w;
    p.add(u + c * l - s * w, v + s * l + c * w);
  }
  p = clip(p, 0, 1.0, 0.5 * a.l);
  p = clip(p, 0, -1.0, 0.5 * a.l);
  p = clip(p, 1, 1.0, 0.5 * a.w);
  p = clip(p, 1, -1.0, 0.5 * a.w);
  return p.n < 3 ? 0.0 : shoelace(p);
}

double iou(const Box& a, const Box& b) {
  const double common = overlap(a, b);
  const double all = a.area + b.area - common;
  return all > 0.0 ? std::min(1.0, common / all) : 0.0;
}

bool make_boxes(const double* rows, int32_t n, std::vector<Box>& boxes) {
  boxes.resize(n);
  for (int32_t i = 0; i < n; ++i)
    if (!make_box(rows + 5 * i, boxes[i])) return false;
  return true;
}

// Ties go to the earlier cell, so a plateau gives one peak.
bool is_peak(const float* at, int32_t ny, int32_t nx, int32_t y, int32_t x) {
  const float centre = *at;
  for (int32_t dy = -1; dy <= 1; ++dy)
    for (int32_t dx = -1; dx <= 1; ++dx) {
      const int32_t v = y + dy, u = x + dx;
      if ((dx == 0 && dy == 0) || v < 0 || u < 0 || v >= ny || u >= nx) continue;
      const float other = at[static_cast<int64_t>(dy) * nx + dx];
      const bool earlier = dy < 0 || (dy == 0 && dx < 0);
      if (other > centre || (earlier && other == centre)) return false;
    }
  return true;
}

}  // namespace

int32_t percept_bev_iou(const double* a, int32_t n, const double* b, int32_t m, double* out) {
  if (n < 0 || m < 0 || (n > 0 && a == nullptr) || (m > 0 && b == nullptr) || (n > 0 && m > 0 && out == nullptr)) return -1;
  try {
    std::vector<Box> left, right;
    if (!make_boxes(a, n, left) || !make_boxes(b, m, right)) return -3;
    for (const Box& one : left)
      for (const Box& two : right) *out++ = iou(one, two);
  } catch (const std::bad_alloc&) {
    return -2;
  }
  return 0;
}

int32_t percept_nms_rotated(const double* rows, int32_t n, double iou_threshold, uint8_t* keep) {
  if (n < 0 || (n > 0 && (rows == nullptr || keep == nullptr)) || !(iou_threshold >= 0.0 && iou_threshold <= 1.0)) return -1;
  try {
    std::vector<Box> boxes;
    if (!make_boxes(rows, n, boxes)) return -3;
    std::fill(keep, keep + n, uint8_t{1});
    int32_t kept = 0;
    for (int32_t i = 0; i < n; ++i) {
      if (keep[i] == 0) continue;
      ++kept;
      for (int32_t j = i + 1; j < n; ++j)
        if (keep[j] != 0 && iou(boxes[i], boxes[j]) > iou_threshold) keep[j] = 0;
    }
    return kept;
  } catch (const std::bad_alloc&) {
    return -2;
  }
}

int32_t percept_heat_peaks(const float* heat, int32_t classes, int32_t ny, int32_t nx, float threshold,
                           int32_t capacity, int32_t* index) {
  if (heat == nullptr || index == nullptr || classes < 1 || ny < 1 || nx < 1 || capacity < 0) return -1;
  if (static_cast<int64_t>(classes) * ny * nx > (int64_t{1} << 31) - 1 || std::isnan(threshold)) return -1;
  try {
    std::vector<int32_t> found;
    const int32_t area = ny * nx;
    for (int32_t c = 0; c < classes; ++c)
      for (int32_t i = 0; i < area; ++i)
        if (heat[c * area + i] >= threshold && is_peak(heat + c * area + i, ny, nx, i / nx, i % nx)) found.push_back(c * area + i);
    std::stable_sort(found.begin(), found.end(), [heat](int32_t a, int32_t b) { return heat[a] > heat[b]; });
    const int32_t count = std::min(capacity, static_cast<int32_t>(found.size()));
    std::copy(found.begin(), found.begin() + count, index);
    return count;
  } catch (const std::bad_alloc&) {
    return -2;
  }
}
