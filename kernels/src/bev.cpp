#include "percept_bev.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

namespace {

constexpr float kEmpty = -std::numeric_limits<float>::infinity();
constexpr float kHeightScale = 0.25f;
constexpr int kFineBins = 256;  // lookup of slices by height

struct Cell {
  std::array<uint8_t, 16> count;
  float low, high;
};

struct Touched {
  int32_t cell;
  uint32_t mask;
};

struct Scratch {
  percept_bev_grid grid;
  std::vector<Cell> cells;
  std::vector<Touched> touched;
  std::array<float, 256> saturating;
  float fine_scale;
  std::array<uint8_t, kFineBins + 1> slice_of_fine;
};

bool valid(const percept_points* p) {
  if (p == nullptr || p->count < 0 || p->count > (int64_t{1} << 31)) return false;
  if (p->count > 0 && p->data == nullptr) return false;
  const int64_t last = std::max({p->x_offset, p->y_offset, p->z_offset}) + int64_t{4};
  return p->x_offset >= 0 && p->y_offset >= 0 && p->z_offset >= 0 && (p->stride_bytes >= last || p->count <= 1);
}

bool valid(const percept_bev_grid& g) {
  if (!(g.nx > 0 && g.ny > 0 && g.nx <= 8192 && g.ny <= 8192 && g.cell_m > 0.0f && g.max_range_m > 0.0f)) return false;
  if (g.slices < 1 || g.slices > 16 || !std::isfinite(g.x_min_m) || !std::isfinite(g.y_min_m)) return false;
  for (int i = 0; i < g.slices; ++i)
    if (!(g.edges_m[i] < g.edges_m[i + 1])) return false;
  return std::isfinite(g.edges_m[0]) && std::isfinite(g.edges_m[g.slices]);
}

float load(const uint8_t* at) {
  float value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

struct Reader {
  const percept_points& p;
  std::array<float, 12> T;
  bool identity;

  Reader(const percept_points& points, const float* pose) : p(points) {
    std::copy(pose, pose + 12, T.begin());
    constexpr std::array<float, 12> kUnit{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
    identity = T == kUnit;
  }

  void read(int64_t i, float& x, float& y, float& z) const {
    const uint8_t* at = p.data + i * p.stride_bytes;
    const float u = load(at + p.x_offset), v = load(at + p.y_offset), w = load(at + p.z_offset);
    if (identity) {
      x = u, y = v, z = w;
      return;
    }
    x = T[0] * u + T[1] * v + T[2] * w + T[3];
    y = T[4] * u + T[5] * v + T[6] * w + T[7];
    z = T[8] * u + T[9] * v + T[10] * w + T[11];
  }
};

void write_range(const percept_bev_grid& g, float* plane) {
  for (int32_t iy = 0; iy < g.ny; ++iy) {
    const float y = g.y_min_m + (static_cast<float>(iy) + 0.5f) * g.cell_m;
    for (int32_t ix = 0; ix < g.nx; ++ix) {
      const float x = g.x_min_m + (static_cast<float>(ix) + 0.5f) * g.cell_m;
      *plane++ = std::sqrt(x * x + y * y) / g.max_range_m;
    }
  }
}

void clear_touched(const Scratch& s, size_t area, float* out) {
  const int slices = s.grid.slices;
  for (const Touched& t : s.touched) {
    for (uint32_t mask = t.mask; mask != 0; mask &= mask - 1)
      out[static_cast<size_t>(__builtin_ctz(mask)) * area + t.cell] = 0.0f;
    out[slices * area + t.cell] = 0.0f;
    out[(slices + 1) * area + t.cell] = 0.0f;
  }
}

int slice_of(const Scratch& s, float height) {
  const percept_bev_grid& g = s.grid;
  int k = s.slice_of_fine[static_cast<int>((height - g.edges_m[0]) * s.fine_scale)];
  while (height >= g.edges_m[k + 1] && k + 1 < g.slices) ++k;
  return k;
}

void add_points(Scratch& s, const Reader& reader, const float* plane) {
  const percept_bev_grid& g = s.grid;
  const float inverse = 1.0f / g.cell_m, range2 = g.max_range_m * g.max_range_m;
  const float bottom = g.edges_m[0], top = g.edges_m[g.slices];
  for (int64_t i = 0; i < reader.p.count; ++i) {
    float x, y, z;
    reader.read(i, x, y, z);
    const float height = z - (plane[0] * x + plane[1] * y + plane[2]);
    if (!(x * x + y * y < range2) || !(height >= bottom && height < top)) continue;
    const float fx = (x - g.x_min_m) * inverse, fy = (y - g.y_min_m) * inverse;
    if (!(fx >= 0.0f && fy >= 0.0f)) continue;
    const int32_t ix = static_cast<int32_t>(fx), iy = static_cast<int32_t>(fy);
    if (ix >= g.nx || iy >= g.ny) continue;
    const int32_t index = iy * g.nx + ix;
    Cell& cell = s.cells[index];
    if (cell.high == kEmpty) {
      s.touched.push_back({index, 0});
      cell.low = cell.high = height;
    }
    cell.low = std::min(cell.low, height);
    cell.high = std::max(cell.high, height);
    uint8_t& n = cell.count[slice_of(s, height)];
    n = static_cast<uint8_t>(n + (n != 255));
  }
}

float scaled(float height) { return std::clamp(height * kHeightScale, -0.25f, 1.0f); }

void write_cells(Scratch& s, size_t area, float* out) {
  const int slices = s.grid.slices;
  for (Touched& t : s.touched) {
    Cell& cell = s.cells[t.cell];
    for (int k = 0; k < slices; ++k) {
      if (cell.count[k] == 0) continue;
      out[k * area + t.cell] = s.saturating[cell.count[k]];
      t.mask |= 1u << k;
    }
    out[slices * area + t.cell] = scaled(cell.high);
    out[(slices + 1) * area + t.cell] = scaled(cell.low);
    cell.count.fill(0);
    cell.high = kEmpty;
  }
}

// ---- ground plane -------------------------------------------------------------------------------------------------

constexpr int kSide = 50;             // cells of 2 m, 100 m wide
constexpr float kGroundCell_m = 2.0f, kBin_m = 0.1f;
constexpr float kHalf_m = 0.5f * kSide * kGroundCell_m;

struct Sample {
  float x, y, z, range;
  int32_t cell;
};

// Mode over cells near the origin of each cell's lowest 0.1 m bin that holds two points or more. A few ghost cells below
// the road are outvoted, walls vote only where they stand.
bool mode_height(const std::vector<Sample>& samples, float low, float& height) {
  std::vector<uint64_t> once(kSide * kSide, 0), twice(kSide * kSide, 0);
  for (const Sample& p : samples) {
    const int bin = static_cast<int>((p.z - low) / kBin_m);
    if (p.range >= 25.0f || bin < 0 || bin >= 64) continue;
    const uint64_t bit = uint64_t{1} << bin;
    twice[p.cell] |= once[p.cell] & bit;
    once[p.cell] |= bit;
  }
  std::array<int, 66> votes{};
  for (uint64_t bits : twice)
    if (bits != 0) ++votes[__builtin_ctzll(bits) + 1];
  int best = 0, most = 0;
  for (int b = 1; b <= 64; ++b) {
    const int sum = votes[b - 1] + votes[b] + votes[b + 1];
    if (sum > most) most = sum, best = b;
  }
  height = low + (static_cast<float>(best) - 0.5f) * kBin_m;
  return most >= 4;
}

struct Sum {
  float z = 0, x = 0, y = 0;
  int n = 0;
};

// One robust step: mean of the points near the present plane in each cell, then weighted least squares over cells.
int refine(const std::vector<Sample>& samples, float base, float slope, bool tilt, std::array<double, 3>& plane) {
  std::vector<Sum> cells(kSide * kSide);
  for (const Sample& p : samples) {
    const float r = p.z - static_cast<float>(plane[0] * p.x + plane[1] * p.y + plane[2]);
    if (std::fabs(r) > base + slope * p.range) continue;
    Sum& c = cells[p.cell];
    c.z += p.z, c.x += p.x, c.y += p.y, ++c.n;
  }
  double A[3][4] = {};
  int support = 0;
  for (const Sum& c : cells) {
    if (c.n < 2) continue;
    const double x = c.x / c.n, y = c.y / c.n, z = c.z / c.n;
    const double w = std::min(c.n, 6) / (1.0 + (x * x + y * y) / 400.0);
    const double row[3] = {x, y, 1.0};
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) A[i][j] += w * row[i] * row[j];
      A[i][3] += w * row[i] * z;
    }
    ++support;
  }
  if (support < 3) return support;
  if (!tilt || support < 12) {
    plane = {plane[0], plane[1], (A[2][3] - plane[0] * A[2][0] - plane[1] * A[2][1]) / A[2][2]};
    return support;
  }
  const double ridge = 0.02 * A[2][2];  // a weak pull to level
  A[0][0] += ridge, A[1][1] += ridge;
  for (int i = 0; i < 3; ++i)
    for (int k = i + 1; k < 3; ++k) {
      const double f = A[k][i] / A[i][i];
      for (int j = i; j < 4; ++j) A[k][j] -= f * A[i][j];
    }
  plane[2] = A[2][3] / A[2][2];
  plane[1] = (A[1][3] - A[1][2] * plane[2]) / A[1][1];
  plane[0] = (A[0][3] - A[0][2] * plane[2] - A[0][1] * plane[1]) / A[0][0];
  plane[0] = std::clamp(plane[0], -0.15, 0.15);
  plane[1] = std::clamp(plane[1], -0.15, 0.15);
  return support;
}

std::vector<Sample> ground_samples(const Reader& reader, float low) {
  std::vector<Sample> samples;
  const int64_t step = std::max<int64_t>(1, reader.p.count / 30000);
  samples.reserve(static_cast<size_t>(reader.p.count / step + 1));
  for (int64_t i = 0; i < reader.p.count; i += step) {
    float x, y, z;
    reader.read(i, x, y, z);
    if (!(std::fabs(x) < kHalf_m && std::fabs(y) < kHalf_m && z > low - 4.0f && z < low + 10.4f)) continue;
    const int ix = std::min(kSide - 1, static_cast<int>((x + kHalf_m) / kGroundCell_m));
    const int iy = std::min(kSide - 1, static_cast<int>((y + kHalf_m) / kGroundCell_m));
    samples.push_back({x, y, z, std::sqrt(x * x + y * y), iy * kSide + ix});
  }
  return samples;
}

int ground_plane(const Reader& reader, float low, float* plane) {
  const std::vector<Sample> samples = ground_samples(reader, low);
  float height;
  std::fill(plane, plane + 3, 0.0f);
  if (!mode_height(samples, low, height)) return 0;
  std::array<double, 3> fit{0.0, 0.0, height};
  refine(samples, 0.25f, 0.03f, true, fit);
  refine(samples, 0.25f, 0.02f, true, fit);
  refine(samples, 0.20f, 0.015f, true, fit);
  const int support = refine(samples, 0.15f, 0.01f, true, fit);
  for (int i = 0; i < 3; ++i) plane[i] = static_cast<float>(fit[i]);
  return support;
}

}  // namespace

void* percept_bev_create(const percept_bev_grid* grid) {
  if (grid == nullptr || !valid(*grid)) return nullptr;
  auto scratch = std::unique_ptr<Scratch>(new (std::nothrow) Scratch{});
  if (!scratch) return nullptr;
  try {
    scratch->grid = *grid;
    scratch->cells.assign(static_cast<size_t>(grid->nx) * grid->ny, Cell{{}, 0.0f, kEmpty});
    scratch->touched.reserve(1 << 16);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  for (int n = 0; n < 256; ++n) scratch->saturating[n] = 1.0f - std::exp2(-static_cast<float>(n));
  const float span = grid->edges_m[grid->slices] - grid->edges_m[0];
  scratch->fine_scale = kFineBins / span;
  for (int fine = 0, k = 0; fine <= kFineBins; ++fine) {
    const float height = grid->edges_m[0] + span * fine / kFineBins;
    while (k + 1 < grid->slices && height >= grid->edges_m[k + 1] + 1e-4f) ++k;
    scratch->slice_of_fine[fine] = static_cast<uint8_t>(k);
  }
  return scratch.release();
}

void percept_bev_destroy(void* scratch) { delete static_cast<Scratch*>(scratch); }

int32_t percept_bev_rasterise(void* scratch, const percept_points* points, const float* base_SE3_sensor,
                              const float* plane, int32_t first, float* out) {
  if (scratch == nullptr || !valid(points) || base_SE3_sensor == nullptr || plane == nullptr || out == nullptr) return -1;
  Scratch& s = *static_cast<Scratch*>(scratch);
  const size_t area = s.cells.size();
  if (first != 0) {
    std::memset(out, 0, sizeof(float) * area * (s.grid.slices + 2));
    write_range(s.grid, out + area * (s.grid.slices + 2));
  } else {
    clear_touched(s, area, out);
  }
  s.touched.clear();
  try {
    add_points(s, Reader(*points, base_SE3_sensor), plane);
  } catch (const std::bad_alloc&) {
    return -2;
  }
  write_cells(s, area, out);
  return static_cast<int32_t>(s.touched.size());
}

int32_t percept_ground_plane(const percept_points* points, const float* base_SE3_sensor, float low_m, float* plane) {
  if (!valid(points) || base_SE3_sensor == nullptr || plane == nullptr || !std::isfinite(low_m)) return -1;
  try {
    return ground_plane(Reader(*points, base_SE3_sensor), low_m, plane);
  } catch (const std::bad_alloc&) {
    return -2;
  }
}
