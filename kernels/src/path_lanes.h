// Vectors of tracks side by side, and the functions of them that the path network needs; accurate to a few float32 roundings.
#pragma once
#include <cstdint>

namespace percept_lanes {

#if defined(__AVX512F__)
constexpr int kWide = 16;
#elif defined(__AVX__)
constexpr int kWide = 8;
#else
constexpr int kWide = 4;
#endif

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

}  // namespace percept_lanes
