#include "percept_raycast.h"

#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

namespace {

constexpr int kGroup = 8;  // columns that share one candidate list
constexpr float kFar = 1e30f;

// Counter-based random numbers: a hash of (seed, ray, salt), so that results do not depend on threads or order.
inline uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}
inline uint32_t draw(uint32_t seed, uint32_t ray, uint32_t salt) { return mix(mix(ray + 0x9e3779b9U * salt) ^ seed); }
inline float uniform(uint32_t bits) { return (static_cast<float>(bits >> 8) + 0.5f) * (1.0f / 16777216.0f); }
inline float normal(uint32_t bits) {  // Irwin-Hall of four bytes-and-a-hash: light tails, unit variance
  const uint32_t more = mix(bits + 0x68bc21ebU);
  const float sum = static_cast<float>((bits & 0xffffU) + (bits >> 16) + (more & 0xffffU) + (more >> 16));
  return (sum * (1.0f / 65535.0f) - 2.0f) * 1.7320508f;
}

enum Salt : uint32_t { kAzimuth = 1, kElevation, kRange, kDrop, kPower, kGhost, kGhostPath, kIntensity, kSolid = 100 };

struct Hit {
  float t = kFar;
  float cosine = 1.0f;
  float reflectivity = 0.0f;
  float gloss = 0.0f;
  int32_t object = PERCEPT_NOTHING;
  bool retro = false;
};

struct Rays {  // one column, padded to whole vectors
  std::vector<float> x, y, z, t_in, t_out, plane;
  explicit Rays(int n) : x(n), y(n), z(n), t_in(n), t_out(n), plane(n) {}
};

class Caster {
 public:
  Caster(const PerceptScene &scene, const PerceptSpin &spin) : s_(scene), p_(spin), padded_((spin.beams + 7) / 8 * 8) {
    centre_.resize(static_cast<size_t>(s_.solids) * 4);
    for (int i = 0; i < s_.solids; ++i) bound(i);
    elevation_sorted_ = std::is_sorted(p_.elevation, p_.elevation + p_.beams, [](float a, float b) { return a > b; });
  }

  int32_t run(int first_group, int last_group, float *points, float *range, float *intensity, int32_t *object) const {
    std::vector<Rays> group(kGroup, Rays(padded_));
    std::vector<Hit> hits(p_.beams);
    std::vector<int> near;
    int32_t returns = 0;
    for (int g = first_group; g < last_group; ++g) {
      const int begin = g * kGroup, end = std::min(begin + kGroup, p_.columns);
      for (int c = begin; c < end; ++c) aim(c, group[c - begin]);
      candidates(begin, end, group, near);
      for (int c = begin; c < end; ++c) {
        Rays &rays = group[c - begin];
        std::fill(hits.begin(), hits.end(), Hit());
        for (const int solid : near) meet(solid, c, rays, hits);
        for (int b = 0; b < p_.beams; ++b) {
          ground(c, b, rays, hits[b]);
          returns += answer(c, b, rays, hits[b], points, range, intensity, object);
        }
      }
    }
    return returns;
  }

 private:
  void bound(int i) {
    const float *v = s_.vertices + static_cast<size_t>(i) * PERCEPT_MAX_VERTICES * 3;
    float low[3] = {kFar, kFar, kFar}, high[3] = {-kFar, -kFar, -kFar};
    for (int k = 0; k < s_.vertex_count[i]; ++k)
      for (int a = 0; a < 3; ++a) {
        low[a] = std::min(low[a], v[k * 3 + a]);
        high[a] = std::max(high[a], v[k * 3 + a]);
      }
    float *out = &centre_[static_cast<size_t>(i) * 4];
    float square = 0.0f;
    for (int a = 0; a < 3; ++a) out[a] = 0.5f * (low[a] + high[a]);
    for (int k = 0; k < s_.vertex_count[i]; ++k) {
      const float dx = v[k * 3] - out[0], dy = v[k * 3 + 1] - out[1], dz = v[k * 3 + 2] - out[2];
      square = std::max(square, dx * dx + dy * dy + dz * dz);
    }
    out[3] = std::sqrt(square) + 1e-3f;
  }

  uint32_t ray_id(int c, int b) const { return static_cast<uint32_t>(c) * static_cast<uint32_t>(p_.beams) + b; }

  void aim(int c, Rays &rays) const {
    const float *m = p_.pose + static_cast<size_t>(c) * 12;
    for (int b = 0; b < padded_; ++b) {
      const int k = std::min(b, p_.beams - 1);
      float azimuth = p_.azimuth[c] + p_.azimuth_offset[k], elevation = p_.elevation[k];
      if (p_.azimuth_jitter_rad > 0) azimuth += p_.azimuth_jitter_rad * normal(draw(p_.seed, ray_id(c, k), kAzimuth));
      if (p_.elevation_jitter_rad > 0) elevation += p_.elevation_jitter_rad * normal(draw(p_.seed, ray_id(c, k), kElevation));
      const float flat = std::cos(elevation), dx = flat * std::cos(azimuth), dy = flat * std::sin(azimuth), dz = std::sin(elevation);
      rays.x[b] = m[0] * dx + m[1] * dy + m[2] * dz;
      rays.y[b] = m[4] * dx + m[5] * dy + m[6] * dz;
      rays.z[b] = m[8] * dx + m[9] * dy + m[10] * dz;
    }
  }

  // Solids that some ray of these columns may meet: first by bounding circle, then by the corners' side of the sector.
  void candidates(int begin, int end, const std::vector<Rays> &group, std::vector<int> &near) const {
    near.clear();
    const int middle = begin + (end - begin) / 2, count = end - begin;
    const Rays &m = group[middle - begin];
    float ux = 0, uy = 0;
    for (int b = 0; b < p_.beams; ++b) ux += m.x[b], uy += m.y[b];
    const float norm = std::sqrt(ux * ux + uy * uy);
    if (norm < 1e-3f) {
      for (int i = 0; i < s_.solids; ++i) near.push_back(i);
      return;
    }
    ux /= norm, uy /= norm;
    float spread = 0;
    bool narrow = true;
    for (int c = 0; c < count; ++c)
      for (int b = 0; b < p_.beams; ++b) {
        const float x = group[c].x[b], y = group[c].y[b], flat = std::sqrt(x * x + y * y) + 1e-9f;
        spread = std::max(spread, std::fabs(ux * y - uy * x) / flat);
        narrow = narrow && ux * x + uy * y > 0.0f;
      }
    const float *pose = p_.pose + static_cast<size_t>(middle) * 12;
    const float *first = p_.pose + static_cast<size_t>(begin) * 12, *last = p_.pose + static_cast<size_t>(end - 1) * 12;
    const float ox = pose[3], oy = pose[7], when = p_.time[middle];
    const float moved = std::hypot(first[3] - last[3], first[7] - last[7]), lasted = std::fabs(p_.time[end - 1] - p_.time[begin]);
    for (int i = 0; i < s_.solids; ++i) {
      const float *q = &centre_[static_cast<size_t>(i) * 4], *v = s_.velocity + static_cast<size_t>(i) * 3;
      const float sx = v[0] * when - ox, sy = v[1] * when - oy;
      const float slack = moved + lasted * (std::fabs(v[0]) + std::fabs(v[1]));
      const float cx = q[0] + sx, cy = q[1] + sy, away = std::sqrt(cx * cx + cy * cy), radius = q[3] + slack;
      if (away - radius > p_.max_range_m) continue;
      if (!narrow || away < radius) {
        near.push_back(i);
        continue;
      }
      if (ux * cx + uy * cy < -radius || std::fabs(ux * cy - uy * cx) > radius + spread * away) continue;
      if (!beside(i, sx, sy, ux, uy, spread, slack)) near.push_back(i);
    }
  }

  bool beside(int i, float sx, float sy, float ux, float uy, float spread, float slack) const {
    const float *v = s_.vertices + static_cast<size_t>(i) * PERCEPT_MAX_VERTICES * 3;
    bool left = true, right = true;
    for (int k = 0; k < s_.vertex_count[i]; ++k) {
      const float x = v[k * 3] + sx, y = v[k * 3 + 1] + sy;
      const float cross = ux * y - uy * x, edge = spread * std::sqrt(x * x + y * y) + slack + 1e-3f;
      left = left && cross > edge;
      right = right && cross < -edge;
    }
    return left || right;
  }

  // Beams [first, last) whose elevation may meet the solid's height band.
  void beam_band(int i, float ox, float oy, float oz, float sx, float sy, float sz, const Rays &rays, int &first, int &last) const {
    first = 0, last = p_.beams;
    if (!elevation_sorted_) return;
    const float *q = &centre_[static_cast<size_t>(i) * 4];
    const float dx = q[0] + sx - ox, dy = q[1] + sy - oy, dz = q[2] + sz - oz, radius = q[3];
    const float square = dx * dx + dy * dy + dz * dz;
    if (square < 4.0f * radius * radius) return;
    const float away = std::sqrt(square), half = std::asin(std::min(1.0f, radius / away)), up = std::asin(dz / away);
    const float margin = 4.5f * p_.elevation_jitter_rad + 0.001f;
    const float top = std::sin(std::min(1.5707f, up + half + margin)), bottom = std::sin(std::max(-1.5707f, up - half - margin));
    while (first < last && rays.z[first] > top) ++first;
    while (last > first && rays.z[last - 1] < bottom) --last;
  }

  void meet(int i, int c, Rays &rays, std::vector<Hit> &hits) const {
    const float *m = p_.pose + static_cast<size_t>(c) * 12, *v = s_.velocity + static_cast<size_t>(i) * 3;
    const float when = p_.time[c];
    int first, last;
    beam_band(i, m[3], m[7], m[11], v[0] * when, v[1] * when, v[2] * when, rays, first, last);
    if (first >= last) return;
    const int from = first / 8 * 8, to = (last + 7) / 8 * 8;
    const float ox = m[3] - v[0] * when, oy = m[7] - v[1] * when, oz = m[11] - v[2] * when;
    float *__restrict t_in = rays.t_in.data(), *__restrict t_out = rays.t_out.data(), *__restrict which = rays.plane.data();
    const float *__restrict dx = rays.x.data(), *__restrict dy = rays.y.data(), *__restrict dz = rays.z.data();
    for (int b = from; b < to; ++b) t_in[b] = -kFar, t_out[b] = kFar, which[b] = 0.0f;
    const float *planes = s_.planes + static_cast<size_t>(i) * PERCEPT_MAX_PLANES * 4;
    for (int k = 0; k < s_.plane_count[i]; ++k) {
      const float nx = planes[k * 4], ny = planes[k * 4 + 1], nz = planes[k * 4 + 2];
      const float gap = planes[k * 4 + 3] - (nx * ox + ny * oy + nz * oz), index = static_cast<float>(k);
      for (int b = from; b < to; ++b) {
        const float slope = nx * dx[b] + ny * dy[b] + nz * dz[b] + 0.0f;
        const float t = gap / slope;
        const float enter = slope < 0.0f ? t : -kFar, leave = slope < 0.0f ? kFar : t;
        which[b] = enter > t_in[b] ? index : which[b];
        t_in[b] = enter > t_in[b] ? enter : t_in[b];
        t_out[b] = leave < t_out[b] ? leave : t_out[b];
      }
    }
    for (int b = from; b < std::min(to, p_.beams); ++b)
      if (t_in[b] < t_out[b] && t_out[b] > 0.0f && t_in[b] < hits[b].t) take(i, c, b, rays, hits[b]);
  }

  void take(int i, int c, int b, const Rays &rays, Hit &hit) const {
    const uint8_t material = s_.material[i];
    const float parameter = s_.parameter[i];
    float t = rays.t_in[b];
    if (material == PERCEPT_FOLIAGE) {
      const float luck = uniform(draw(p_.seed, ray_id(c, b), kSolid + i));
      t = std::max(t, 0.0f) - parameter * std::log(luck);
      if (t > rays.t_out[b] || t >= hit.t) return;
    } else if (material == PERCEPT_GLASS || material == PERCEPT_FENCE) {
      if (uniform(draw(p_.seed, ray_id(c, b), kSolid + i)) > parameter) return;
    }
    if (t <= 0.0f) return;
    const float *n = s_.planes + (static_cast<size_t>(i) * PERCEPT_MAX_PLANES + static_cast<int>(rays.plane[b])) * 4;
    hit.t = t;
    hit.cosine = std::fabs(n[0] * rays.x[b] + n[1] * rays.y[b] + n[2] * rays.z[b]);
    if (material == PERCEPT_FOLIAGE) hit.cosine = 0.3f + 0.7f * uniform(mix(draw(p_.seed, ray_id(c, b), kSolid + i)));
    hit.reflectivity = s_.reflectivity[i];
    hit.gloss = material == PERCEPT_SOLID ? parameter : 0.0f;
    hit.retro = material == PERCEPT_RETRO;
    hit.object = s_.object[i];
  }

  float height(float x, float y) const {
    const float fx = std::min(std::max((x - s_.ground_x_m) / s_.ground_cell_m, 0.0f), static_cast<float>(s_.ground_nx - 1) - 1e-3f);
    const float fy = std::min(std::max((y - s_.ground_y_m) / s_.ground_cell_m, 0.0f), static_cast<float>(s_.ground_ny - 1) - 1e-3f);
    const int i = static_cast<int>(fx), j = static_cast<int>(fy);
    const float u = fx - i, v = fy - j, *h = s_.ground_height + static_cast<size_t>(i) * s_.ground_ny + j;
    return (1 - u) * ((1 - v) * h[0] + v * h[1]) + u * ((1 - v) * h[s_.ground_ny] + v * h[s_.ground_ny + 1]);
  }

  float paint(float x, float y) const {
    const int i = static_cast<int>(std::floor((x - s_.paint_x_m) / s_.paint_cell_m));
    const int j = static_cast<int>(std::floor((y - s_.paint_y_m) / s_.paint_cell_m));
    const int a = std::min(std::max(i, 0), s_.paint_nx - 1), b = std::min(std::max(j, 0), s_.paint_ny - 1);
    return s_.paint[static_cast<size_t>(a) * s_.paint_ny + b];
  }

  // Steps down the ray by what the steepest slope allows, then closes in.
  void ground(int c, int b, const Rays &rays, Hit &hit) const {
    if (s_.ground_nx < 2 || rays.z[b] > s_.ground_slope) return;
    const float *m = p_.pose + static_cast<size_t>(c) * 12;
    const float dx = rays.x[b], dy = rays.y[b], dz = rays.z[b], flat = std::sqrt(dx * dx + dy * dy);
    const float rate = 1.0f / (s_.ground_slope * flat - dz + 1e-6f), reach = std::min(hit.t, p_.max_range_m);
    float t = 0.0f;
    for (int step = 0; step < 64; ++step) {
      const float above = m[11] + t * dz - height(m[3] + t * dx, m[7] + t * dy);
      if (above < 0.002f) break;
      t += std::max(above * rate, 0.002f);
      if (t > reach) return;
    }
    if (t <= 0.0f) return;
    const float x = m[3] + t * dx, y = m[7] + t * dy;
    const float gx = (height(x + 0.5f, y) - height(x - 0.5f, y)), gy = (height(x, y + 0.5f) - height(x, y - 0.5f));
    hit = Hit();
    hit.t = t;
    hit.cosine = std::fabs(-gx * dx - gy * dy + dz) / std::sqrt(1.0f + gx * gx + gy * gy);
    hit.reflectivity = s_.paint_nx > 0 ? paint(x, y) : 0.2f;
    hit.object = PERCEPT_GROUND;
  }

  // Whether the receiver sees the hit, at what range and how bright.
  int32_t answer(int c, int b, const Rays &rays, const Hit &hit, float *points, float *range, float *intensity, int32_t *object) const {
    const uint32_t id = ray_id(c, b);
    float *xyz = points + static_cast<size_t>(id) * 3;
    xyz[0] = xyz[1] = xyz[2] = range[id] = intensity[id] = 0.0f;
    object[id] = PERCEPT_NOTHING;
    if (hit.t >= p_.max_range_m || hit.t < p_.min_range_m) return 0;
    if (p_.drop_probability > 0 && uniform(draw(p_.seed, id, kDrop)) < p_.drop_probability) return 0;
    const float lobe = hit.cosine * hit.cosine;
    float albedo = hit.reflectivity * ((1.0f - hit.gloss) * (0.15f + 0.85f * hit.cosine) + hit.gloss * 1.5f * lobe * lobe * lobe * lobe);
    if (hit.object == PERCEPT_GROUND) albedo = hit.reflectivity * (0.02f + 0.98f * std::sqrt(hit.cosine));
    if (hit.retro) albedo = hit.reflectivity * 4.0f;
    const float relative = p_.reach_m / hit.t;
    if (p_.reach_m > 0 && albedo * relative * relative < std::exp(0.35f * normal(draw(p_.seed, id, kPower)))) return 0;
    float t = hit.t + p_.range_bias[b] + p_.range_sigma_m * normal(draw(p_.seed, id, kRange));
    int32_t owner = hit.object;
    const bool mirror = hit.object >= 0 || hit.object == PERCEPT_GROUND;
    if (mirror && rays.z[b] < 0.0f && p_.ghost_probability > 0) {
      const float odds = p_.ghost_probability * (hit.object >= 0 ? 10.0f * (0.1f + hit.gloss) : 1.0f);
      if (uniform(draw(p_.seed, id, kGhost)) < odds) {
        t -= p_.ghost_mean_m * std::log(uniform(draw(p_.seed, id, kGhostPath)));
        owner = PERCEPT_GHOST;
        albedo *= 0.3f;
      }
    }
    if (t < p_.min_range_m || t >= p_.max_range_m) return 0;
    const float faded = albedo * std::pow(std::min(1.0f, 10.0f / t), p_.intensity_falloff);
    const float seen = p_.intensity_gain * std::pow(std::max(faded, 1e-6f), p_.intensity_gamma) +
                       p_.intensity_sigma * normal(draw(p_.seed, id, kIntensity));
    const float *m = p_.pose + static_cast<size_t>(c) * 12;
    for (int a = 0; a < 3; ++a) xyz[a] = t * (m[a] * rays.x[b] + m[4 + a] * rays.y[b] + m[8 + a] * rays.z[b]);
    range[id] = t;
    intensity[id] = std::min(std::max(seen, 0.0f), 1.0f);
    object[id] = owner;
    return 1;
  }

  const PerceptScene &s_;
  const PerceptSpin &p_;
  int padded_;
  bool elevation_sorted_ = false;
  std::vector<float> centre_;  // [solids] bounding sphere: x, y, z, radius
};

bool usable(const PerceptScene *s, const PerceptSpin *p) {
  if (!s || !p || s->solids < 0 || p->columns <= 0 || p->beams <= 0 || p->beams > 4096 || p->columns > 1 << 20) return false;
  if (!p->azimuth || !p->time || !p->pose || !p->elevation || !p->azimuth_offset || !p->range_bias) return false;
  if (s->solids > 0 && !(s->planes && s->plane_count && s->vertices && s->vertex_count && s->material && s->reflectivity &&
                         s->parameter && s->object && s->velocity))
    return false;
  if (s->ground_nx > 0 && (s->ground_nx < 2 || s->ground_ny < 2 || !s->ground_height || !(s->ground_cell_m > 0))) return false;
  if (s->paint_nx > 0 && (s->paint_ny < 1 || !s->paint || !(s->paint_cell_m > 0))) return false;
  for (int i = 0; i < s->solids; ++i)
    if (s->plane_count[i] > PERCEPT_MAX_PLANES || s->vertex_count[i] > PERCEPT_MAX_VERTICES || s->vertex_count[i] == 0) return false;
  return true;
}

}  // namespace

int32_t percept_raycast_spin(const PerceptScene *scene, const PerceptSpin *spin, float *points, float *range,
                             float *intensity, int32_t *object) {
  if (!usable(scene, spin) || !points || !range || !intensity || !object) return -1;
  const Caster caster(*scene, *spin);
  const int groups = (spin->columns + kGroup - 1) / kGroup, threads = std::max(1, std::min(spin->threads, groups));
  if (threads == 1) return caster.run(0, groups, points, range, intensity, object);
  std::vector<int32_t> returns(threads, 0);
  std::vector<std::thread> crew;
  for (int w = 0; w < threads; ++w)
    crew.emplace_back([&, w] {
      returns[w] = caster.run(groups * w / threads, groups * (w + 1) / threads, points, range, intensity, object);
    });
  int32_t total = 0;
  for (int w = 0; w < threads; ++w) crew[w].join(), total += returns[w];
  return total;
}
