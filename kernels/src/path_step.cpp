#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "../percept_paths.h"
#include "path_lanes.h"

namespace {

using namespace percept_lanes;

constexpr int64_t kMost = 1 << 24;
constexpr int64_t kMostSize = 1 << 12;
constexpr int64_t kMostTerms = 16;
constexpr int64_t kMostOut = 2 * kMostTerms + 8;

struct Sizes {
  int64_t members, hidden, features, width, lags, groups, stages, terms, horizon, heads, doubts;
  int64_t all_hidden() const { return members * hidden; }
  int64_t looks() const { return lags + width - 1; }
  int64_t outs() const { return 2 * terms + doubts; }
  static int64_t fours(int64_t count) { return (count + 3) / 4 * 4; }
  int64_t kinds() const { return groups * stages; }
};

// Where each weight begins.
struct Weights {
  const float *looks, *gates, *gate_bias, *first, *first_bias, *last, *last_bias, *terms, *edges, *basis, *doubt_basis,
      *sigma_scale, *trust;
  int64_t count;

  Weights(const float *from, const Sizes &s) {
    const float *at = from;
    const auto take = [&at](int64_t size) { return std::exchange(at, at + size); };
    looks = take(s.width * Sizes::fours(s.looks()));
    gates = take(s.all_hidden() * (s.hidden + s.features) * 4);
    gate_bias = take(s.all_hidden() * 4);
    first = take(s.members * s.heads * (s.hidden + s.features));
    first_bias = take(s.members * s.heads);
    last = take(s.members * s.heads * Sizes::fours(s.outs()));
    last_bias = take(Sizes::fours(s.outs()));
    terms = take((s.width + 1) * s.kinds() * s.terms);
    edges = take(s.stages - 1);
    basis = take(s.terms * s.horizon);
    doubt_basis = take(s.doubts * s.horizon);
    sigma_scale = take(s.groups * s.horizon);
    trust = take(s.groups);
    count = at - from;
  }
};

struct Tensors {
  const float *displacement, *velocity, *group, *fresh, *window, *age, *hidden, *cell;
  float *offsets, *linear, *sigma, *next_window, *next_age, *next_hidden, *next_cell;
};

class Step {
 public:
  Step(const Weights &weights, const Sizes &sizes, const double *scales)
      : w_(weights), s_(sizes), step_s_(static_cast<float>(scales[0])), small_m_(static_cast<float>(scales[1])),
        reach_m_(static_cast<float>(scales[2])), least_sigma_(static_cast<float>(scales[3])), window_(2 * sizes.width),
        told_(2), age_(1), looks_(2 * sizes.looks()), ahead_(2), seen_(sizes.features), hidden_(sizes.all_hidden()),
        cell_(sizes.all_hidden()), next_hidden_(sizes.all_hidden()), first_(sizes.members * sizes.heads), out_(sizes.outs()),
        found_(static_cast<size_t>(kBlock * sizes.outs())), way_(static_cast<size_t>(2 * kBlock)) {}

  // Tracks [from, from + used) of t.
  void run(const Tensors &t, int64_t from, int64_t used) {
    remember(t, from, used);
    look();
    see();
    recur();
    answer();
    next_hidden_.gather(t.next_hidden + from * s_.all_hidden(), s_.all_hidden(), used);
    cell_.gather(t.next_cell + from * s_.all_hidden(), s_.all_hidden(), used);
    out_.gather(found_.data(), s_.outs(), used);
    ahead_.gather(way_.data(), 2, used);
    for (int64_t l = 0; l < used; ++l) path(t, from + l, found_.data() + l * s_.outs(), way_.data() + 2 * l);
  }

 private:
  // State and inputs of the block; what the fresh ones remember is not read.
  void remember(const Tensors &t, int64_t from, int64_t used) {
    const int64_t wide = 2 * s_.width;
    for (int64_t l = 0; l < used; ++l) {
      const int64_t n = from + l;
      const bool fresh = t.fresh[n] > 0.5f;
      const float *old = t.window + n * wide;
      float *window = t.next_window + n * wide;
      for (int axis = 0; axis < 2; ++axis) {
        const float newest = t.displacement[2 * n + axis];
        float *mine = window + axis * s_.width;
        if (fresh) {
          std::fill_n(mine, s_.width, newest);
        } else {
          std::memcpy(mine, old + axis * s_.width + 1, static_cast<size_t>(s_.width - 1) * sizeof(float));
          mine[s_.width - 1] = newest;
        }
        told_[axis][l] = t.velocity[2 * n + axis] * step_s_;
      }
      t.next_age[n] = (fresh ? 0.0f : t.age[n]) + 1.0f;
      age_[0][l] = t.next_age[n];
    }
    window_.spread(t.next_window + from * wide, wide, used);
    hidden_.spread(t.hidden + from * s_.all_hidden(), s_.all_hidden(), used);
    cell_.spread(t.cell + from * s_.all_hidden(), s_.all_hidden(), used);
    for (int64_t l = 0; l < used; ++l) {
      for (int64_t g = 0; g < s_.groups; ++g) seen_[s_.features - s_.groups + g][l] = t.group[(from + l) * s_.groups + g];
      if (t.fresh[from + l] <= 0.5f) continue;
      for (int64_t h = 0; h < s_.all_hidden(); ++h) hidden_[h][l] = cell_[h][l] = 0.0f;
    }
  }

  // Means of the newest displacements and second differences, (2, columns).
  void look() {
    const float none[4] = {};
    for (int axis = 0; axis < 2; ++axis) {
      for (int64_t column = 0; column < s_.looks(); column += 4) {
        Four four(none);
        four.add(window_, axis * s_.width, s_.width, w_.looks + column * s_.width);
        four.put(looks_, axis * s_.looks() + column, std::min<int64_t>(4, s_.looks() - column));
      }
    }
  }

  // Inputs of the LSTMs: along and across the motion.
  void see() {
    const int64_t looks = s_.looks(), lags = s_.lags + 1;
    for (int half = 0; half < 2; ++half) {
      const Lane east = looks_.at(0, half), north = looks_.at(looks, half);
      const Lane speed = root(east * east + north * north);
      const Lane size = root(speed * speed + 0.25f * small_m_ * small_m_);
      const Lane ahead_e = east / size, ahead_n = north / size;
      ahead_.at(0, half) = ahead_e, ahead_.at(1, half) = ahead_n;
      for (int64_t k = 0; k < lags; ++k) {
        const bool told = k == s_.lags;
        const Lane e = (told ? told_.at(0, half) - east : looks_.at(1 + k, half)) * (1.0f / small_m_);
        const Lane n = (told ? told_.at(1, half) - north : looks_.at(looks + 1 + k, half)) * (1.0f / small_m_);
        seen_.at(k, half) = squashed(e * ahead_e + n * ahead_n);
        seen_.at(lags + k, half) = squashed(n * ahead_e - e * ahead_n);
      }
      Lane rough{};
      for (int64_t k = 1 + s_.lags; k < looks; ++k) {
        const Lane e = looks_.at(k, half), n = looks_.at(looks + k, half);
        rough += e * e + n * n;
      }
      rough = root(rough / static_cast<float>(s_.width - 2));
      seen_.at(2 * lags, half) = logarithm(speed / small_m_ + 0.1f);
      seen_.at(2 * lags + 1, half) = logarithm(rough / small_m_ + 0.05f);
      const Lane share = age_.at(0, half) / static_cast<float>(s_.width);
      seen_.at(2 * lags + 2, half) = least(most(share, all(0.0f)), all(1.0f));
    }
  }

  // All LSTMs one step on. Products of logistic and tangent take one division: s(a) tanh(b) = (e - 1) / ((1 + e^-a)(e + 1)).
  void recur() {
    const int64_t inputs = s_.hidden + s_.features;
    for (int64_t unit = 0; unit < s_.all_hidden(); ++unit) {
      const float *weights = w_.gates + unit * inputs * 4;
      Four gates(w_.gate_bias + unit * 4);
      gates.add(hidden_, unit / s_.hidden * s_.hidden, s_.hidden, weights);
      gates.add(seen_, 0, s_.features, weights + s_.hidden * 4);
      for (int half = 0; half < 2; ++half) {
        const Lane enter = rise(-gates.sum[0][half]), forget = rise(-gates.sum[1][half]), leave = rise(-gates.sum[3][half]);
        const Lane now = cell_.at(unit, half) / (1.0f + forget) + turned(gates.sum[2][half], enter);
        cell_.at(unit, half) = now;
        next_hidden_.at(unit, half) = turned(now, leave);
      }
    }
  }

  static Lane rise(Lane x) { return exponential(least(most(x, all(-40.0f)), all(40.0f))); }

  // tanh(value) / (1 + below).
  static Lane turned(Lane value, Lane below) {
    const Lane e = exponential(least(most(value + value, all(-30.0f)), all(30.0f)));
    return (e - 1.0f) / ((1.0f + below) * (e + 1.0f));
  }

  // Mean coefficients and sigma terms of all members.
  void answer() {
    const int64_t inputs = s_.hidden + s_.features, rows = s_.members * s_.heads, outs = s_.outs();
    for (int64_t row = 0; row < rows; row += 4) {
      const float *weights = w_.first + row * inputs;
      Four four(w_.first_bias + row);
      four.add(next_hidden_, row / s_.heads * s_.hidden, s_.hidden, weights);
      four.add(seen_, 0, s_.features, weights + s_.hidden * 4);
      for (int g = 0; g < 4; ++g)
        for (int half = 0; half < 2; ++half) first_.at(row + g, half) = turned(four.sum[g][half], Lane{});
    }
    for (int64_t o = 0; o < outs; o += 4) {
      Four four(w_.last_bias + o);
      four.add(first_, 0, rows, w_.last + o * rows);
      four.put(out_, o, std::min<int64_t>(4, outs - o));
    }
  }

  // Offsets and sigma of one track from its coefficients; way: direction of motion.
  void path(const Tensors &t, int64_t n, const float *found, const float *way) {
    const float *group = t.group + n * s_.groups, *window = t.next_window + n * 2 * s_.width;
    float *linear = t.linear + n * 2 * s_.terms, *offsets = t.offsets + n * 2 * s_.horizon, *sigma = t.sigma + n * s_.horizon;
    std::fill_n(linear, 2 * s_.terms, 0.0f);
    std::fill_n(sigma, s_.horizon, 0.0f);
    int64_t stage = 0;
    while (stage + 1 < s_.stages && t.next_age[n] >= w_.edges[stage]) ++stage;
    float trust = 0.0f, scale[kMostSize];
    std::fill_n(scale, s_.horizon, 0.0f);
    for (int64_t g = 0; g < s_.groups; ++g) {
      if (group[g] == 0.0f) continue;
      trust += group[g] * w_.trust[g];
      add_linear(window, t.velocity + 2 * n, group[g], g * s_.stages + stage, linear);
      for (int64_t i = 0; i < s_.horizon; ++i) scale[i] += group[g] * w_.sigma_scale[g * s_.horizon + i];
    }
    const float reach = trust * reach_m_;
    float east[kMostTerms], north[kMostTerms];
    for (int64_t p = 0; p < s_.terms; ++p) {
      const float along = found[p] * reach, across = found[s_.terms + p] * reach;
      east[p] = linear[p] + (along * way[0] - across * way[1]);
      north[p] = linear[s_.terms + p] + (along * way[1] + across * way[0]);
    }
    std::fill_n(offsets, 2 * s_.horizon, 0.0f);
    mix(east, s_.terms, w_.basis, offsets);
    mix(north, s_.terms, w_.basis, offsets + s_.horizon);
    mix(found + 2 * s_.terms, s_.doubts, w_.doubt_basis, sigma);
    float padded[kMostSize + kWide];
    std::copy_n(sigma, s_.horizon, padded);
    std::fill_n(padded + s_.horizon, kWide, 0.0f);
    for (int64_t i = 0; i < s_.horizon; i += kWide) {
      Lane &part = *reinterpret_cast<Lane *>(padded + i);
      part = exponential(part);
    }
    for (int64_t i = 0; i < s_.horizon; ++i) sigma[i] = padded[i] * scale[i] + least_sigma_;
  }

  // Polynomial of the ridge filter of this kind, times weight.
  void add_linear(const float *window, const float *velocity, float weight, int64_t kind, float *linear) const {
    const int64_t stride = s_.kinds() * s_.terms;
    for (int axis = 0; axis < 2; ++axis) {
      float sum[kMostTerms] = {};
      for (int64_t i = 0; i <= s_.width; ++i) {
        const float value = i < s_.width ? window[axis * s_.width + i] : velocity[axis] * step_s_;
        for (int64_t p = 0; p < s_.terms; ++p) sum[p] += value * w_.terms[i * stride + kind * s_.terms + p];
      }
      for (int64_t p = 0; p < s_.terms; ++p) linear[axis * s_.terms + p] += weight * sum[p];
    }
  }

  void mix(const float *shares, int64_t count, const float *basis, float *to) const {
    for (int64_t k = 0; k < count; ++k)
      for (int64_t i = 0; i < s_.horizon; ++i) to[i] += shares[k] * basis[k * s_.horizon + i];
  }

  const Weights &w_;
  const Sizes &s_;
  float step_s_, small_m_, reach_m_, least_sigma_;
  Rows window_, told_, age_, looks_, ahead_, seen_, hidden_, cell_, next_hidden_, first_, out_;
  std::vector<float> found_, way_;
};

bool good(const Sizes &s) {
  for (int64_t size : {s.members, s.hidden, s.features, s.lags, s.groups, s.stages, s.terms, s.horizon, s.heads, s.doubts})
    if (size < 1 || size > kMostSize) return false;
  if (s.width < 3 || s.width > kMostSize || s.heads % 4 || s.terms > kMostTerms || s.outs() > kMostOut) return false;
  return s.features == 2 * (s.lags + 1) + 3 + s.groups;
}

bool finite(const float *values, int64_t count) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    bad |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return !bad;
}

bool answered(const Tensors &t, const Sizes &s, int64_t tracks) {
  return finite(t.offsets, tracks * 2 * s.horizon) && finite(t.linear, tracks * 2 * s.terms) &&
         finite(t.sigma, tracks * s.horizon) && finite(t.next_window, tracks * 2 * s.width) && finite(t.next_age, tracks) &&
         finite(t.next_hidden, tracks * s.all_hidden()) && finite(t.next_cell, tracks * s.all_hidden());
}

}  // namespace

int32_t percept_path_step(const float *weights, int64_t count, const int64_t *sizes, const double *scales, int64_t tracks,
                          const float *group, const float *displacement, const float *velocity, const float *fresh,
                          const float *window, const float *age, const float *hidden, const float *cell, float *offsets,
                          float *linear, float *sigma, float *next_window, float *next_age, float *next_hidden,
                          float *next_cell) {
  if (!weights || !sizes || !scales) return -1;
  if (tracks < 0 || tracks > kMost) return -2;
  const Sizes s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8], sizes[9], sizes[10]};
  if (!good(s)) return -3;
  if (!(scales[0] > 0.0) || !(scales[1] > 0.0) || !(scales[2] > 0.0) || !(scales[3] >= 0.0)) return -3;
  const Weights w(weights, s);
  if (w.count != count) return -4;
  if (tracks == 0) return 0;
  const Tensors t{displacement, velocity, group,      fresh,       window,   age,         hidden,   cell,
                  offsets,      linear,   sigma,      next_window, next_age, next_hidden, next_cell};
  for (const float *array : {displacement, velocity, group, fresh, window, age, hidden, cell})
    if (!array) return -1;
  for (const float *array : {offsets, linear, sigma, next_window, next_age, next_hidden, next_cell})
    if (!array) return -1;
  Step step(w, s, scales);
  for (int64_t from = 0; from < tracks; from += kBlock) step.run(t, from, std::min<int64_t>(kBlock, tracks - from));
  return answered(t, s, tracks) ? 0 : 1;
}
