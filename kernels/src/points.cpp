#include "percept_points.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int kFields = 6;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <class T>
T read(const uint8_t* at, bool swap) {
  uint8_t bytes[sizeof(T)];
  std::memcpy(bytes, at, sizeof(T));
  if (swap) std::reverse(bytes, bytes + sizeof(T));
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

int size_of(int32_t datatype) {
  constexpr int sizes[] = {0, 1, 1, 2, 2, 4, 4, 4, 8};
  return datatype >= 1 && datatype <= 8 ? sizes[datatype] : 0;
}

bool layout_fits(int64_t size, int64_t height, int64_t width, int64_t row_step, int64_t point_step, const int64_t* offsets,
                 const int32_t* datatypes) {
  constexpr int64_t limit = int64_t{1} << 40;
  if (height < 0 || width < 0 || point_step <= 0 || row_step < 0) return false;
  if (height > limit || width > limit || point_step > limit || row_step > limit) return false;
  if (height == 0 || width == 0) return true;
  if (width > size / point_step) return false;
  if (height > 1 && (row_step < width * point_step || height - 1 > (size - width * point_step) / row_step)) return false;
  for (int f = 0; f < kFields; ++f) {
    if (offsets[f] < 0) {
      if (f < 3) return false;
      continue;
    }
    const int bytes = size_of(datatypes[f]);
    if (bytes == 0 || offsets[f] > point_step - bytes) return false;
  }
  return (datatypes[0] == 7 || datatypes[0] == 8) && datatypes[1] == datatypes[0] && datatypes[2] == datatypes[0];
}

struct Filter {
  float near2, far2;
  bool has_ego;
  float ego[4], row_x[4], row_y[4];

  // 0 = keep, else 1 + the index of the counter of dropped points.
  int verdict(float x, float y, float z, float range2) const {
    if (!(range2 <= std::numeric_limits<float>::max())) return 1;
    if (range2 < near2 || range2 > far2) return 2;
    if (!has_ego) return 0;
    const float bx = row_x[0] * x + row_x[1] * y + row_x[2] * z + row_x[3];
    const float by = row_y[0] * x + row_y[1] * y + row_y[2] * z + row_y[3];
    // Without short cuts: which side of the box a point lies on cannot be predicted.
    return (bx >= ego[0]) & (bx <= ego[1]) & (by >= ego[2]) & (by <= ego[3]) ? 3 : 0;
  }
};

Filter make_filter(const double* range_m, const double* ego_box_m, const double* pose) {
  Filter filter{};
  filter.near2 = static_cast<float>(range_m[0] * range_m[0]);
  filter.far2 = static_cast<float>(std::min(range_m[1] * range_m[1], double{std::numeric_limits<float>::max()}));
  filter.has_ego = ego_box_m != nullptr;
  for (int i = 0; filter.has_ego && i < 4; ++i) {
    filter.ego[i] = static_cast<float>(ego_box_m[i]);
    filter.row_x[i] = static_cast<float>(pose[i]);
    filter.row_y[i] = static_cast<float>(pose[4 + i]);
  }
  return filter;
}

struct Output {
  float *points, *intensity;
  uint16_t* ring;
  double* time;
  int64_t kept = 0, dropped[3] = {0, 0, 0};
};

constexpr int kBlock = 512;  // points filtered before their other columns are read, while they are in the nearest cache

// Filters one block; `chosen` gets the kept points' numbers within it. Returns how many there are.
template <class T>
int filter_block(const uint8_t* block, int count, int64_t point_step, const int64_t* offsets, bool swap, const Filter& filter,
                 Output& out, uint16_t* chosen) {
  int kept = 0;
  float* xyz = out.points + 3 * out.kept;
  for (int i = 0; i < count; ++i) {
    const uint8_t* point = block + i * point_step;
    const float x = static_cast<float>(read<T>(point + offsets[0], swap));
    const float y = static_cast<float>(read<T>(point + offsets[1], swap));
    const float z = static_cast<float>(read<T>(point + offsets[2], swap));
    const int verdict = filter.verdict(x, y, z, x * x + y * y + z * z);
    if (verdict != 0) {
      ++out.dropped[verdict - 1];
      continue;
    }
    xyz[0] = x, xyz[1] = y, xyz[2] = z;
    xyz += 3;
    chosen[kept++] = static_cast<uint16_t>(i);
  }
  return kept;
}

struct Picked {
  const uint8_t* block;
  int64_t point_step;
  const uint16_t* chosen;
  int kept;
  bool swap;
};

template <class T, class Out, class Tidy>
void gather(const Picked& from, int64_t offset, Out* out, Tidy tidy) {
  for (int i = 0; i < from.kept; ++i)
    out[i] = tidy(read<T>(from.block + from.chosen[i] * from.point_step + offset, from.swap));
}

template <class Out, class Tidy>
void gather_any(const Picked& from, int64_t offset, int32_t datatype, Out* out, Tidy tidy) {
  switch (datatype) {
    case 1: return gather<int8_t>(from, offset, out, tidy);
    case 2: return gather<uint8_t>(from, offset, out, tidy);
    case 3: return gather<int16_t>(from, offset, out, tidy);
    case 4: return gather<uint16_t>(from, offset, out, tidy);
    case 5: return gather<int32_t>(from, offset, out, tidy);
    case 6: return gather<uint32_t>(from, offset, out, tidy);
    case 7: return gather<float>(from, offset, out, tidy);
    default: return gather<double>(from, offset, out, tidy);
  }
}

// NaN and infinities become 0.
constexpr auto kStrength = [](auto value) {
  const float v = static_cast<float>(value);
  return std::abs(v) <= std::numeric_limits<float>::max() ? v : 0.0f;
};
constexpr auto kBeam = [](auto value) {
  const float v = static_cast<float>(value);
  return v >= 0.0f && v <= 65535.0f ? static_cast<uint16_t>(v) : uint16_t{65535};
};
constexpr auto kWhen = [](auto value) { return static_cast<double>(value); };

void decode_row(const uint8_t* row, int64_t width, int64_t point_step, const int64_t* offsets, const int32_t* datatypes, bool swap,
                const Filter& filter, Output& out) {
  uint16_t chosen[kBlock];
  const auto filter_some = datatypes[0] == 7 ? filter_block<float> : filter_block<double>;
  for (int64_t start = 0; start < width; start += kBlock) {
    const uint8_t* block = row + start * point_step;
    const int count = static_cast<int>(std::min<int64_t>(kBlock, width - start));
    const int kept = filter_some(block, count, point_step, offsets, swap, filter, out, chosen);
    const Picked from{block, point_step, chosen, kept, swap};
    if (out.intensity) gather_any(from, offsets[3], datatypes[3], out.intensity + out.kept, kStrength);
    if (out.ring) gather_any(from, offsets[4], datatypes[4], out.ring + out.kept, kBeam);
    if (out.time) gather_any(from, offsets[5], datatypes[5], out.time + out.kept, kWhen);
    out.kept += kept;
  }
}

double largest(const float* values, int64_t count) {
  float most = 0.0f;
  for (int64_t i = 0; i < count; ++i) most = values[i] > most ? values[i] : most;
  return most;
}

// Smallest and largest finite value, NaN when there is none.
void extent_of(const double* values, int64_t count, double* low, double* high) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  double least = infinity, most = -infinity;
  for (int64_t i = 0; i < count; ++i) {
    const double v = values[i];
    least = v < least && v > -infinity ? v : least;
    most = v > most && v < infinity ? v : most;
  }
  const bool any = least <= most;
  *low = any ? least : kNaN;
  *high = any ? most : kNaN;
}

typedef float Vec __attribute__((vector_size(16)));  // x, y, z, unused

// Columns of a transform at one node, and how they change up to the next.
struct Motion {
  Vec base[4], change[4];
};

std::vector<Motion> make_motions(const double* table, int64_t nodes) {
  std::vector<Motion> motions(static_cast<size_t>(nodes - 1));
  for (int64_t n = 0; n + 1 < nodes; ++n)
    for (int c = 0; c < 4; ++c)
      for (int r = 0; r < 3; ++r) {
        const double now = table[12 * n + 4 * r + c], next = table[12 * (n + 1) + 4 * r + c];
        motions[n].base[c][r] = static_cast<float>(now);
        motions[n].change[c][r] = static_cast<float>(next - now);
      }
  return motions;
}

}  // namespace

int64_t percept_points_decode(const uint8_t* data, int64_t size, int64_t height, int64_t width, int64_t row_step, int64_t point_step,
                              const int64_t* offsets, const int32_t* datatypes, int32_t swap, const double* range_m,
                              const double* ego_box_m, const double* base_SE3_lidar, float* points, float* intensity,
                              uint16_t* ring, double* time, int64_t* dropped, double* extent) {
  if (!data || !offsets || !datatypes || !range_m || !points || !dropped || !extent || (ego_box_m && !base_SE3_lidar)) return -1;
  if (!layout_fits(size, height, width, row_step, point_step, offsets, datatypes)) return -1;
  if ((intensity && offsets[3] < 0) || (ring && offsets[4] < 0) || (time && offsets[5] < 0)) return -1;
  const Filter filter = make_filter(range_m, ego_box_m, base_SE3_lidar);
  Output out{points, intensity, ring, time};
  for (int64_t row = 0; row < height; ++row)
    decode_row(data + row * row_step, width, point_step, offsets, datatypes, swap != 0, filter, out);
  std::copy(out.dropped, out.dropped + 3, dropped);
  extent[0] = intensity ? largest(intensity, out.kept) : 0.0;
  extent_of(time, time ? out.kept : 0, extent + 1, extent + 2);
  return out.kept;
}

int32_t percept_points_deskew(const uint8_t* points, int64_t stride, const float* time_s, int64_t count, const double* table,
                              int64_t nodes, double start_s, double step_s, float* out) {
  if (count < 0 || nodes < 2 || nodes > 65536 || stride < 12 || !(step_s > 0.0) || !std::isfinite(start_s)) return -1;
  if (count > 0 && (!points || !time_s || !table || !out)) return -1;
  const std::vector<Motion> motions = make_motions(table, nodes);
  const float last = static_cast<float>(nodes - 1), per_second = static_cast<float>(1.0 / step_s);
  const float origin_s = static_cast<float>(start_s);
  for (int64_t i = 0; i < count; ++i) {
    float p[3];
    std::memcpy(p, points + i * stride, sizeof p);
    float at = (time_s[i] - origin_s) * per_second;
    at = at > 0.0f ? std::min(at, last) : 0.0f;  // NaN goes to the start
    const int32_t node = std::min(static_cast<int32_t>(at), static_cast<int32_t>(nodes) - 2);
    const Motion& motion = motions[node];
    const float after = at - static_cast<float>(node);
    const Vec moved = (motion.base[0] + after * motion.change[0]) * p[0] + (motion.base[1] + after * motion.change[1]) * p[1] +
                      (motion.base[2] + after * motion.change[2]) * p[2] + (motion.base[3] + after * motion.change[3]);
    std::memcpy(out + 3 * i, &moved, 3 * sizeof(float));
  }
  return 0;
}
