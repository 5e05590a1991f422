// Overlap of upright boxes [x, y, z, l, w, h, yaw].
#pragma once
#include <algorithm>
#include <cmath>

namespace percept::tracking {

constexpr double kPi = 3.14159265358979323846;

inline double wrap(double a) {
  a = std::fmod(a + kPi, 2 * kPi);
  return a <= 0 ? a + kPi : a - kPi;
}

struct Point {
  double x, y;
};

struct Rectangle {
  Point p[4];
  double area, radius;
};

inline Rectangle rectangle(const double* b) {
  const double c = std::cos(b[6]), s = std::sin(b[6]), l = b[3] / 2, w = b[4] / 2;
  const double dx[4] = {l, -l, -l, l}, dy[4] = {w, w, -w, -w};
  Rectangle r;
  for (int i = 0; i < 4; ++i) r.p[i] = {b[0] + c * dx[i] - s * dy[i], b[1] + s * dx[i] + c * dy[i]};
  r.area = b[3] * b[4];
  r.radius = std::hypot(l, w);
  return r;
}

inline double polygonArea(const Point* p, int n) {
  double a = 0;
  for (int i = 0, j = n - 1; i < n; j = i++) a += (p[j].x - p[0].x) * (p[i].y - p[0].y) - (p[i].x - p[0].x) * (p[j].y - p[0].y);
  return 0.5 * std::fabs(a);
}

// Area common to two rectangles (Sutherland and Hodgman, CACM 1974).
inline double intersection(const Rectangle& a, const Rectangle& b) {
  Point poly[16], next[16];
  int n = 4;
  for (int i = 0; i < 4; ++i) poly[i] = a.p[i];
  for (int e = 0; e < 4 && n > 0; ++e) {
    const Point o = b.p[e], q = b.p[(e + 1) & 3];
    const double ex = q.x - o.x, ey = q.y - o.y;
    int m = 0;
    double last = ex * (poly[n - 1].y - o.y) - ey * (poly[n - 1].x - o.x);
    Point from = poly[n - 1];
    for (int i = 0; i < n; ++i) {
      const Point to = poly[i];
      const double side = ex * (to.y - o.y) - ey * (to.x - o.x);
      if ((side >= 0) != (last >= 0)) {
        const double t = last / (last - side);
        next[m++] = {from.x + t * (to.x - from.x), from.y + t * (to.y - from.y)};
      }
      if (side >= 0) next[m++] = to;
      from = to;
      last = side;
    }
    n = m;
    std::copy(next, next + n, poly);
  }
  return n < 3 ? 0.0 : polygonArea(poly, n);
}

// Area of the convex hull of both rectangles (monotone chain).
inline double hullArea(const Rectangle& a, const Rectangle& b) {
  Point p[8], h[17];
  std::copy(a.p, a.p + 4, p);
  std::copy(b.p, b.p + 4, p + 4);
  std::sort(p, p + 8, [](const Point& u, const Point& v) { return u.x < v.x || (u.x == v.x && u.y < v.y); });
  const auto turn = [](const Point& o, const Point& u, const Point& v) {
    return (u.x - o.x) * (v.y - o.y) - (u.y - o.y) * (v.x - o.x);
  };
  int k = 0;
  for (int i = 0; i < 8; ++i) {
    while (k >= 2 && turn(h[k - 2], h[k - 1], p[i]) <= 0) --k;
    h[k++] = p[i];
  }
  for (int i = 6, t = k + 1; i >= 0; --i) {
    while (k >= t && turn(h[k - 2], h[k - 1], p[i]) <= 0) --k;
    h[k++] = p[i];
  }
  return polygonArea(h, k - 1);
}

struct Overlap {
  double iou_bev, iou_3d, giou_3d;
};

inline Overlap overlap(const double* a, const double* b, const Rectangle& ra, const Rectangle& rb, bool generalised) {
  const double apart = std::hypot(a[0] - b[0], a[1] - b[1]);
  const double common = apart < ra.radius + rb.radius ? intersection(ra, rb) : 0.0;
  const double top = std::min(a[2] + a[5] / 2, b[2] + b[5] / 2), low = std::max(a[2] - a[5] / 2, b[2] - b[5] / 2);
  const double volume = common * std::max(0.0, top - low);
  const double joined = ra.area * a[5] + rb.area * b[5] - volume;
  Overlap o{common / (ra.area + rb.area - common), volume / joined, 0};
  if (generalised) {
    const double up = std::max(a[2] + a[5] / 2, b[2] + b[5] / 2), down = std::min(a[2] - a[5] / 2, b[2] - b[5] / 2);
    const double hull = hullArea(ra, rb) * (up - down);
    o.giou_3d = o.iou_3d - (hull - joined) / hull;
  }
  return o;
}

// Box of pixels.
struct Pixels {
  double x1, y1, x2, y2;
  double area() const { return std::max(0.0, x2 - x1) * std::max(0.0, y2 - y1); }
};

inline double common(const Pixels& a, const Pixels& b) {
  const double w = std::min(a.x2, b.x2) - std::max(a.x1, b.x1), h = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  return w > 0 && h > 0 ? w * h : 0.0;
}

// Projects the eight corners of an upright box through a (3, 4) matrix. False when a corner is behind the camera.
inline bool project(const double* box, const double* M, Pixels& out) {
  const double c = std::cos(box[6]), s = std::sin(box[6]);
  out = {1e18, 1e18, -1e18, -1e18};
  for (int i = 0; i < 8; ++i) {
    const double dx = (i & 1 ? 0.5 : -0.5) * box[3], dy = (i & 2 ? 0.5 : -0.5) * box[4], dz = (i & 4 ? 0.5 : -0.5) * box[5];
    const double x = box[0] + c * dx - s * dy, y = box[1] + s * dx + c * dy, z = box[2] + dz;
    const double d = M[8] * x + M[9] * y + M[10] * z + M[11];
    if (d < 0.1) return false;
    const double u = (M[0] * x + M[1] * y + M[2] * z + M[3]) / d, v = (M[4] * x + M[5] * y + M[6] * z + M[7]) / d;
    out.x1 = std::min(out.x1, u);
    out.y1 = std::min(out.y1, v);
    out.x2 = std::max(out.x2, u);
    out.y2 = std::max(out.y2, v);
  }
  return true;
}

}  // namespace percept::tracking
