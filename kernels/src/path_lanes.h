// Vectors of tracks side by side, and the functions of them that the path network needs; accurate to a few float32 roundings.
#pragma once
#include <cstdint>
#include <vector>

namespace percept_lanes {

#if defined(__AVX512F__)
constexpr int kWide = 16;
#elif defined(__AVX__)
constexpr int kWide = 8;
#else
constexpr int kWide = 4;
#endif

constexpr int kBlock = 2 * kWide;  // tracks at a time

typedef float Lane __attribute__((vector_size(4 * kWide), aligned(4), may_alias));
typedef int32_t Whole __attribute__((vector_size(4 * kWide), aligned(4), may_alias));

inline Lane all(float value) { return Lane{} + value; }
// The smaller and the larger of both; not-a-number stays where `a` is it.
inline Lane least(Lane a, Lane b) { return a > b ? b : a; }
inline Lane most(Lane a, Lane b) { return a < b ? b : a; }
inline Lane root(Lane a) {
  for (int l = 0; l < kWide; ++l) a[l] = __builtin_sqrtf(a[l]);
  return a;
}

// Elements of both side by side, by place.
inline Lane picked(Lane a, Lane b, Whole places) {
#if defined(__clang__)
  Lane out;
  for (int k = 0; k < kWide; ++k) out[k] = places[k] < kWide ? a[places[k]] : b[places[k] - kWide];
  return out;
#else
  return __builtin_shuffle(a, b, places);
#endif
}

// e^x for x in [-87, 88]; beyond, the value at the end. Taylor series after taking out powers of two.
inline Lane exponential(Lane x) {
  x = least(most(x, all(-87.0f)), all(88.0f));
  const Lane bits = x * 1.44269504f + 12582912.0f;  // 1.5 2^23: the sum's low bits are the rounded power
  const Lane power = bits - 12582912.0f;
  const Lane r = (x - power * 0.693359375f) + power * 2.12194440e-4f;
  Lane sum = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
  sum = sum * r + 1.0f / 120.0f;
  sum = sum * r + 1.0f / 24.0f;
  sum = sum * r + 1.0f / 6.0f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  return (Lane)((Whole)sum + ((Whole)bits << 23));
}

// Natural logarithm of normal x > 0: ln(2^n m) = n ln 2 + 2 artanh((m - 1) / (m + 1)), m in [sqrt(1/2), sqrt(2)).
inline Lane logarithm(Lane x) {
  const Whole moved = (Whole)x - 0x3f3504f3, power = moved >> 23;
  const Lane m = (Lane)((moved & 0x7fffff) + 0x3f3504f3);
  const Lane z = (m - 1.0f) / (m + 1.0f), q = z * z;
  const Lane series = z * (2.0f + q * (2.0f / 3.0f + q * (2.0f / 5.0f + q * (2.0f / 7.0f + q * (2.0f / 9.0f)))));
  const Lane n = __builtin_convertvector(power, Lane);
  return n * 0.693359375f + (series - n * 2.12194440e-4f);
}

// Inverse hyperbolic sine.
inline Lane squashed(Lane x) {
  const Lane size = x < 0.0f ? -x : x;
  const Lane value = logarithm(size + root(size * size + 1.0f));
  return x < 0.0f ? -value : value;
}

// Swap rows and columns of a tile: halves of pairs of rows that lie Step apart change places, Step = 1, 2, 4, ...
template <int Step = 1>
inline void transpose(Lane *tile) {
  if constexpr (Step < kWide) {
    Whole low, high;
    for (int k = 0; k < kWide; ++k) low[k] = k & Step ? kWide + k - Step : k, high[k] = k & Step ? kWide + k : k + Step;
    for (int i = 0; i < kWide; ++i) {
      if (i & Step) continue;
      const Lane a = tile[i], b = tile[i + Step];
      tile[i] = picked(a, b, low), tile[i + Step] = picked(a, b, high);
    }
    transpose<2 * Step>(tile);
  }
}

// Rows of values of a block's tracks side by side.
class Rows {
 public:
  explicit Rows(int64_t count) : values_(static_cast<size_t>(count * kBlock), 0.0f) {}
  float *operator[](int64_t row) { return values_.data() + row * kBlock; }
  Lane &at(int64_t row, int half) { return *reinterpret_cast<Lane *>(values_.data() + row * kBlock + half * kWide); }

  // Fill rows from (tracks, columns), the first `used` tracks.
  void spread(const float *from, int64_t columns, int64_t used) {
    const int64_t whole = used == kBlock ? columns / kWide * kWide : 0;
    for (int64_t c = 0; c < whole; c += kWide) {
      for (int half = 0; half < 2; ++half) {
        Lane tile[kWide];
        for (int i = 0; i < kWide; ++i) tile[i] = *reinterpret_cast<const Lane *>(from + (half * kWide + i) * columns + c);
        transpose(tile);
        for (int i = 0; i < kWide; ++i) at(c + i, half) = tile[i];
      }
    }
    for (int64_t l = 0; l < used; ++l)
      for (int64_t c = whole; c < columns; ++c) values_[static_cast<size_t>(c * kBlock + l)] = from[l * columns + c];
  }

  // The opposite.
  void gather(float *to, int64_t columns, int64_t used) {
    const int64_t whole = used == kBlock ? columns / kWide * kWide : 0;
    for (int64_t c = 0; c < whole; c += kWide) {
      for (int half = 0; half < 2; ++half) {
        Lane tile[kWide];
        for (int i = 0; i < kWide; ++i) tile[i] = at(c + i, half);
        transpose(tile);
        for (int i = 0; i < kWide; ++i) *reinterpret_cast<Lane *>(to + (half * kWide + i) * columns + c) = tile[i];
      }
    }
    for (int64_t l = 0; l < used; ++l)
      for (int64_t c = whole; c < columns; ++c) to[l * columns + c] = values_[static_cast<size_t>(c * kBlock + l)];
  }

 private:
  std::vector<float> values_;
};

// Four outputs at once of a layer over `hidden` rows and `seen` rows: sums over inputs of weights (inputs, 4).
struct Four {
  Lane sum[4][2];

  Four(const float *bias) {
    for (int g = 0; g < 4; ++g) sum[g][0] = sum[g][1] = all(bias[g]);
  }

  void add(Rows &rows, int64_t first, int64_t count, const float *weights) {
    const float *from = rows[first];
    for (int64_t i = 0; i < count; ++i, from += kBlock, weights += 4) {
      const Lane low = *reinterpret_cast<const Lane *>(from), high = *reinterpret_cast<const Lane *>(from + kWide);
      for (int g = 0; g < 4; ++g) {
        sum[g][0] += low * weights[g];
        sum[g][1] += high * weights[g];
      }
    }
  }

  void put(Rows &to, int64_t first, int64_t count) const {
    for (int64_t g = 0; g < count; ++g)
      for (int half = 0; half < 2; ++half) to.at(first + g, half) = sum[g][half];
  }
};

}  // namespace percept_lanes
