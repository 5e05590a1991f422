// Depth-buffered drawing of the same solids that the LiDAR meets, shaded once a pixel.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "percept_raycast.h"

namespace {

constexpr float kNear = 0.15f;
constexpr int kMostCorners = 12;

inline uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}
inline float unit(uint32_t bits) { return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f); }
inline uint32_t cell(float x, float y, float z, float size) {
  const auto i = static_cast<int32_t>(std::floor(x / size)), j = static_cast<int32_t>(std::floor(y / size));
  const auto k = static_cast<int32_t>(std::floor(z / size));
  return mix(static_cast<uint32_t>(i) * 73856093U ^ static_cast<uint32_t>(j) * 19349663U ^ static_cast<uint32_t>(k) * 83492791U);
}

struct Vec {
  float x, y, z;
};
inline float dot(const Vec &a, const Vec &b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

struct Face {
  float colour[3];
  float shift[3];  // of the solid since time 0: texture moves with it
  float rough;     // share of the texture's amplitude
  int32_t object;
  uint8_t material;  // 255 = ground
};

class Painter {
 public:
  Painter(const PerceptScene &scene, const PerceptView &view, const uint8_t *prism, const uint8_t *colours)
      : s_(scene), v_(view), prism_(prism), colours_(colours), near_(view.width * static_cast<size_t>(view.height), 0.0f),
        face_(near_.size(), -1), low_(view.height), high_(view.height) {
    right_ = {v_.pose[0], v_.pose[4], v_.pose[8]}, down_ = {v_.pose[1], v_.pose[5], v_.pose[9]};
    ahead_ = {v_.pose[2], v_.pose[6], v_.pose[10]}, eye_ = {v_.pose[3], v_.pose[7], v_.pose[11]};
    side_x_ = std::max(v_.cx, v_.width - v_.cx) / v_.fx, side_y_ = std::max(v_.cy, v_.height - v_.cy) / v_.fy;
    faces_.reserve(8192);
  }

  void draw() {
    ground();
    for (int i = 0; i < s_.solids; ++i) solid(i);
  }

  void shade(uint8_t *image, int32_t *object, float *depth) const {
    for (int row = 0; row < v_.height; ++row)
      for (int column = 0; column < v_.width; ++column) pixel(row, column, image, object, depth);
  }

 private:
  Vec to_camera(const Vec &p) const {
    const Vec d = {p.x - eye_.x, p.y - eye_.y, p.z - eye_.z};
    return {dot(d, right_), dot(d, down_), dot(d, ahead_)};
  }

  bool outside(const Vec &centre, float radius) const {
    if (centre.z < kNear - radius || centre.z > v_.reach_m + radius) return true;
    const float lean_x = std::sqrt(1 + side_x_ * side_x_), lean_y = std::sqrt(1 + side_y_ * side_y_);
    return std::fabs(centre.x) - side_x_ * centre.z > radius * lean_x || std::fabs(centre.y) - side_y_ * centre.z > radius * lean_y;
  }

  void solid(int i) {
    const float *vel = s_.velocity + static_cast<size_t>(i) * 3, *corner = s_.vertices + static_cast<size_t>(i) * PERCEPT_MAX_VERTICES * 3;
    const Vec shift = {vel[0] * v_.time, vel[1] * v_.time, vel[2] * v_.time};
    const int count = s_.vertex_count[i];
    Vec points[PERCEPT_MAX_VERTICES], middle = {0, 0, 0};
    for (int k = 0; k < count; ++k) {
      points[k] = to_camera({corner[k * 3] + shift.x, corner[k * 3 + 1] + shift.y, corner[k * 3 + 2] + shift.z});
      middle.x += points[k].x / count, middle.y += points[k].y / count, middle.z += points[k].z / count;
    }
    float radius = 0;
    for (int k = 0; k < count; ++k) {
      const Vec d = {points[k].x - middle.x, points[k].y - middle.y, points[k].z - middle.z};
      radius = std::max(radius, dot(d, d));
    }
    if (outside(middle, std::sqrt(radius))) return;
    const int sides = prism_[i] ? 8 : 4;
    for (int f = 0; f < s_.plane_count[i]; ++f) {
      const float *plane = s_.planes + (static_cast<size_t>(i) * PERCEPT_MAX_PLANES + f) * 4;
      const Vec normal = {plane[0], plane[1], plane[2]};
      const float gap = plane[3] + dot(normal, shift) - dot(normal, eye_);
      if (gap >= 0.0f) continue;  // seen from behind
      Vec polygon[kMostCorners];
      int corners = 0;
      if (f < 2)
        for (int k = 0; k < sides; ++k) polygon[corners++] = points[f * sides + k];
      else
        for (const int k : {f - 2, (f - 1) % sides, sides + (f - 1) % sides, sides + f - 2}) polygon[corners++] = points[k];
      faces_.push_back(paint(i, normal, shift));
      fill(polygon, corners, normal, gap);
    }
  }

  Face paint(int i, const Vec &normal, const Vec &shift) const {
    const Vec sun = {v_.sun[0], v_.sun[1], v_.sun[2]};
    const float light = v_.ambient * (0.8f + 0.2f * normal.z) + v_.diffuse * std::max(0.0f, dot(normal, sun));
    Face face;
    const uint8_t material = s_.material[i];
    const float gloss = material == PERCEPT_GLASS ? 0.45f : material == PERCEPT_SOLID ? 0.15f * s_.parameter[i] : 0.0f;
    const float up = std::max(0.0f, normal.z + 0.4f) / 1.4f;  // glossy faces mirror the sky
    for (int c = 0; c < 3; ++c) face.colour[c] = (1 - gloss * up) * light * colours_[i * 3 + c] + gloss * up * v_.sky_top[c];
    if (material == PERCEPT_RETRO)
      for (float &c : face.colour) c = std::min(255.0f, c * 1.2f);
    face.shift[0] = shift.x, face.shift[1] = shift.y, face.shift[2] = shift.z;
    face.rough = 1.0f - (material == PERCEPT_SOLID ? std::min(1.0f, 1.2f * s_.parameter[i]) : 0.7f);
    face.object = s_.object[i];
    face.material = material;
    return face;
  }

  void ground() {
    if (s_.ground_nx < 2) return;
    const Vec sun = {v_.sun[0], v_.sun[1], v_.sun[2]};
    const float size = s_.ground_cell_m;
    for (int i = 0; i + 1 < s_.ground_nx; ++i)
      for (int j = 0; j + 1 < s_.ground_ny; ++j) {
        const float x = s_.ground_x_m + i * size, y = s_.ground_y_m + j * size;
        const float *h = s_.ground_height + static_cast<size_t>(i) * s_.ground_ny + j;
        if (outside(to_camera({x + size / 2, y + size / 2, h[0]}), size * 1.5f)) continue;
        const Vec a = {x, y, h[0]}, b = {x + size, y, h[s_.ground_ny]}, c = {x + size, y + size, h[s_.ground_ny + 1]}, d = {x, y + size, h[1]};
        triangle(a, b, c, sun);
        triangle(a, c, d, sun);
      }
  }

  void triangle(const Vec &a, const Vec &b, const Vec &c, const Vec &sun) {
    const Vec u = {b.x - a.x, b.y - a.y, b.z - a.z}, w = {c.x - a.x, c.y - a.y, c.z - a.z};
    Vec normal = {u.y * w.z - u.z * w.y, u.z * w.x - u.x * w.z, u.x * w.y - u.y * w.x};
    const float length = std::sqrt(dot(normal, normal));
    normal = {normal.x / length, normal.y / length, normal.z / length};
    const float gap = dot(normal, a) - dot(normal, eye_);
    if (gap >= 0.0f) return;
    Face face{};
    for (float &value : face.colour) value = v_.ambient + v_.diffuse * std::max(0.0f, dot(normal, sun));
    face.object = PERCEPT_GROUND;
    face.material = 255;
    faces_.push_back(face);
    Vec polygon[kMostCorners] = {to_camera(a), to_camera(b), to_camera(c)};
    fill(polygon, 3, normal, gap);
  }

  // Fills a convex polygon (camera axes) of the plane normal . (p - eye) = gap; inverse depth is linear in the image.
  void fill(Vec *polygon, int corners, const Vec &normal, float gap) {
    corners = clip(polygon, corners);
    if (corners < 3) return;
    const float ax = dot(normal, right_) / (gap * v_.fx), ay = dot(normal, down_) / (gap * v_.fy);
    const float constant = dot(normal, ahead_) / gap - ax * v_.cx - ay * v_.cy;
    float u[kMostCorners], w[kMostCorners], top = 1e30f, bottom = -1e30f;
    for (int k = 0; k < corners; ++k) {
      u[k] = v_.fx * polygon[k].x / polygon[k].z + v_.cx, w[k] = v_.fy * polygon[k].y / polygon[k].z + v_.cy;
      top = std::min(top, w[k]), bottom = std::max(bottom, w[k]);
    }
    const int first = static_cast<int>(std::ceil(std::max(top, 0.0f) - 0.5f)), last = static_cast<int>(std::ceil(std::min(bottom, static_cast<float>(v_.height)) - 0.5f));
    const int begin = std::max(first, 0), end = std::min(last, v_.height);
    if (begin >= end) return;
    for (int row = begin; row < end; ++row) low_[row] = 1e30f, high_[row] = -1e30f;
    for (int k = 0; k < corners; ++k) edge(u[k], w[k], u[(k + 1) % corners], w[(k + 1) % corners], begin, end);
    const int32_t id = static_cast<int32_t>(faces_.size()) - 1;
    const uint8_t material = faces_.back().material;
    const bool holes = material == PERCEPT_FOLIAGE || material == PERCEPT_FENCE;
    for (int row = begin; row < end; ++row) {
      const int from = static_cast<int>(std::ceil(std::max(low_[row], 0.0f) - 0.5f));
      const int to = static_cast<int>(std::ceil(std::min(high_[row], static_cast<float>(v_.width)) - 0.5f));
      float inverse = constant + ay * (row + 0.5f) + ax * (std::max(from, 0) + 0.5f);
      const size_t base = static_cast<size_t>(row) * v_.width;
      for (int column = std::max(from, 0); column < to; ++column, inverse += ax) {
        if (inverse <= near_[base + column]) continue;
        if (holes && !covered(row, column, inverse, faces_.back())) continue;
        near_[base + column] = inverse;
        face_[base + column] = id;
      }
    }
  }

  void edge(float u0, float w0, float u1, float w1, int begin, int end) {
    if (w0 > w1) std::swap(u0, u1), std::swap(w0, w1);
    const int first = std::max(begin, static_cast<int>(std::ceil(std::max(w0, -1.0f) - 0.5f)));
    const int last = std::min(end, static_cast<int>(std::ceil(std::min(w1, static_cast<float>(v_.height)) - 0.5f)));
    if (first >= last) return;
    const float slope = (u1 - u0) / (w1 - w0);
    float u = u0 + (first + 0.5f - w0) * slope;
    for (int row = first; row < last; ++row, u += slope) low_[row] = std::min(low_[row], u), high_[row] = std::max(high_[row], u);
  }

  static int clip(Vec *polygon, int corners) {
    Vec kept[kMostCorners];
    int count = 0;
    for (int k = 0; k < corners && count + 2 <= kMostCorners; ++k) {
      const Vec &a = polygon[k], &b = polygon[(k + 1) % corners];
      if (a.z >= kNear) kept[count++] = a;
      if ((a.z >= kNear) != (b.z >= kNear)) {
        const float t = (kNear - a.z) / (b.z - a.z);
        kept[count++] = {a.x + t * (b.x - a.x), a.y + t * (b.y - a.y), kNear};
      }
    }
    std::copy(kept, kept + count, polygon);
    return count;
  }

  Vec direction(int row, int column) const {
    const float a = (column + 0.5f - v_.cx) / v_.fx, b = (row + 0.5f - v_.cy) / v_.fy;
    return {ahead_.x + a * right_.x + b * down_.x, ahead_.y + a * right_.y + b * down_.y, ahead_.z + a * right_.z + b * down_.z};
  }

  bool covered(int row, int column, float inverse, const Face &face) const {
    const Vec d = direction(row, column);
    const float z = 1.0f / inverse;
    const float x = eye_.x + z * d.x - face.shift[0], y = eye_.y + z * d.y - face.shift[1], h = eye_.z + z * d.z - face.shift[2];
    const bool leaf = face.material == PERCEPT_FOLIAGE;
    return unit(cell(x, y, h, leaf ? 0.22f : 0.06f)) < (leaf ? 0.72f : 0.45f);
  }

  void pixel(int row, int column, uint8_t *image, int32_t *object, float *depth) const {
    const size_t at = static_cast<size_t>(row) * v_.width + column;
    const Vec d = direction(row, column);
    const float norm = std::sqrt(dot(d, d)), rise = d.z / norm;
    const float blend = std::min(1.0f, std::max(0.0f, rise) * 2.5f);
    float haze[3], colour[3];
    for (int c = 0; c < 3; ++c) haze[c] = v_.sky_horizon[c] + blend * (v_.sky_top[c] - v_.sky_horizon[c]);
    const int32_t id = face_[at];
    if (id < 0) {
      std::memcpy(colour, haze, sizeof(haze));
      if (rise < 0)  // beyond the drawn ground
        for (int c = 0; c < 3; ++c) colour[c] = 0.5f * haze[c] + 0.5f * (v_.ambient + v_.diffuse * v_.sun[2]) * v_.label_colours[c];
      object[at] = rise < 0 ? PERCEPT_GROUND : PERCEPT_NOTHING;
      depth[at] = 0.0f;
    } else {
      const Face &face = faces_[id];
      const float z = 1.0f / near_[at], fade = v_.fog_m > 0 ? std::exp(-z * norm / v_.fog_m) : 1.0f;
      surface(face, {eye_.x + z * d.x - face.shift[0], eye_.y + z * d.y - face.shift[1], eye_.z + z * d.z - face.shift[2]}, z, colour);
      for (int c = 0; c < 3; ++c) colour[c] = fade * colour[c] + (1 - fade) * haze[c];
      object[at] = face.object;
      depth[at] = z;
    }
    const uint32_t luck = mix(static_cast<uint32_t>(at) ^ v_.seed);
    for (int c = 0; c < 3; ++c) {
      const uint32_t bits = (luck >> (10 * c)) & 0x3ffU;  // triangular noise of two five-bit draws
      const float noise = (static_cast<float>((bits & 31U) + (bits >> 5)) - 31.0f) * (1.0f / 13.06f);
      const float value = v_.gain[c] * colour[c] + v_.noise * noise;
      image[at * 3 + c] = static_cast<uint8_t>(std::min(std::max(value + 0.5f, 0.0f), 255.0f));
    }
  }

  void surface(const Face &face, const Vec &p, float z, float *colour) const {
    const float fine = z < 25.0f ? 0.08f : 0.3f;
    float rough = v_.texture * (unit(cell(p.x, p.y, p.z, fine)) - 0.5f);
    if (face.material == PERCEPT_FOLIAGE) rough = 0.8f * (unit(cell(p.x, p.y, p.z, 0.13f)) - 0.5f);
    if (face.material != 255) {
      if (face.material != PERCEPT_FOLIAGE) rough *= face.rough;
      for (int c = 0; c < 3; ++c) colour[c] = face.colour[c] * (1.0f + rough);
      return;
    }
    const int i = static_cast<int>(std::floor((p.x - v_.label_x_m) / v_.label_cell_m));
    const int j = static_cast<int>(std::floor((p.y - v_.label_y_m) / v_.label_cell_m));
    const bool inside = i >= 0 && j >= 0 && i < v_.label_nx && j < v_.label_ny;
    const int label = inside ? v_.labels[static_cast<size_t>(i) * v_.label_ny + j] : 0;
    const float broad = 0.6f * v_.texture * (unit(cell(p.x, p.y, 0.0f, 2.5f)) - 0.5f);
    for (int c = 0; c < 3; ++c) colour[c] = v_.label_colours[label * 3 + c] * face.colour[c] * (1.0f + rough + broad);
  }

  const PerceptScene &s_;
  const PerceptView &v_;
  const uint8_t *prism_, *colours_;
  std::vector<float> near_;    // inverse depth of the nearest face, 0 = none
  std::vector<int32_t> face_;  // its number
  std::vector<float> low_, high_;
  std::vector<Face> faces_;
  Vec right_, down_, ahead_, eye_;
  float side_x_, side_y_;
};

bool usable(const PerceptScene *s, const PerceptView *v, const uint8_t *prism, const uint8_t *colours) {
  if (!s || !v || s->solids < 0 || v->width <= 0 || v->height <= 0 || v->width > 16384 || v->height > 16384) return false;
  if (!(v->fx > 0) || !(v->fy > 0) || !(v->reach_m > 0) || !v->label_colours) return false;
  if (v->label_nx > 0 && (!v->labels || v->label_ny <= 0 || !(v->label_cell_m > 0))) return false;
  if (s->ground_nx > 0 && (s->ground_ny < 2 || !s->ground_height || !(s->ground_cell_m > 0))) return false;
  if (s->solids > 0 && !(prism && colours && s->planes && s->plane_count && s->vertices && s->vertex_count && s->material &&
                         s->parameter && s->object && s->velocity))
    return false;
  for (int i = 0; i < s->solids; ++i) {
    const int sides = prism[i] ? 8 : 4;
    if (s->plane_count[i] != sides + 2 || s->vertex_count[i] != 2 * sides) return false;
  }
  return true;
}

}  // namespace

int32_t percept_render_view(const PerceptScene *scene, const PerceptView *view, const uint8_t *prism, const uint8_t *colours,
                            uint8_t *image, int32_t *object, float *depth) {
  if (!usable(scene, view, prism, colours) || !image || !object || !depth) return -1;
  Painter painter(*scene, *view, prism, colours);
  painter.draw();
  painter.shade(image, object, depth);
  return 0;
}
