#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "../percept_path_frame.h"
#include "../percept_paths.h"

namespace {

constexpr int64_t kMost = 1 << 24;
constexpr double kLeastTurn = 1e-3;  // core/prediction.py, turn_rates

// Both halves of an id folded into one word (core/track_rows.py, keys_of).
uint64_t key_of(const uint8_t *id) {
  uint64_t halves[2];
  std::memcpy(halves, id, sizeof(halves));
  return halves[0] ^ (halves[1] * 0x9E3779B97F4A7C15ull);
}

// As numpy's argmax: the first of the largest, or the first that is not a number.
int64_t most_probable(const double *chances, int64_t classes) {
  int64_t best = 0;
  for (int64_t c = 1; c < classes && !std::isnan(chances[best]); ++c)
    if (chances[c] > chances[best] || std::isnan(chances[c])) best = c;
  return best;
}

bool within(const int64_t *values, int64_t count, int64_t low, int64_t high) {
  return std::all_of(values, values + count, [low, high](int64_t v) { return v >= low && v < high; });
}

}  // namespace

int32_t percept_path_scene(const uint8_t *ids, const double *chances, const double *boxes, const double *velocity,
                           const double *yaw_rate, const int64_t *group_of, const int64_t *points_of,
                           const uint8_t *turns_of, const uint64_t *known_sorted, const int64_t *known_order,
                           const uint8_t *alive, const double *place, int64_t tracks, int64_t classes, int64_t kinds,
                           int64_t known, double elapsed, double step_s, double turn_speed, double most_turn, uint64_t *keys,
                           uint64_t *sorted, int64_t *order, int64_t *group, int64_t *points, double *turn, uint8_t *usable,
                           int64_t *row, float *kind, float *moved, float *told, float *fresh) {
  if (tracks < 1 || tracks > kMost || known < 0 || known > kMost || classes < 1 || classes > 4096 || kinds < 1) return -2;
  if (!ids || !chances || !boxes || !velocity || !yaw_rate || !group_of || !points_of || !turns_of) return -1;
  if (!keys || !sorted || !order || !group || !points || !turn || !usable || !row || !kind || !moved || !told || !fresh) return -1;
  if (known > 0 && (!known_sorted || !known_order || !alive || !place)) return -1;
  if (!(step_s > 0.0) || !(most_turn >= 0.0)) return -3;
  if (!within(group_of, classes, 0, kinds) || !within(known_order, known, 0, known)) return -4;
  bool same = tracks == known;
  std::fill_n(kind, tracks * kinds, 0.0f);
  for (int64_t n = 0; n < tracks; ++n) {
    const double *v = velocity + 2 * n, *box = boxes + 7 * n;
    const int64_t c = most_probable(chances + classes * n, classes);
    keys[n] = key_of(ids + 16 * n);
    group[n] = group_of[c], points[n] = points_of[c];
    kind[n * kinds + group[n]] = 1.0f;
    usable[n] = std::isfinite(box[0] + box[1] + (v[0] + v[1]));
    const bool turns = turns_of[c] && std::hypot(v[0], v[1]) >= turn_speed && std::fabs(yaw_rate[n]) > kLeastTurn;
    turn[n] = turns ? std::clamp(yaw_rate[n], -most_turn, most_turn) : 0.0;
    const uint64_t *at = std::lower_bound(known_sorted, known_sorted + known, keys[n]);
    row[n] = at != known_sorted + known && *at == keys[n] ? known_order[at - known_sorted] : -1;
    if (row[n] >= 0 && !alive[row[n]]) row[n] = -1;
    same = same && row[n] == n;
    fresh[n] = row[n] < 0 ? 1.0f : 0.0f;
    for (int axis = 0; axis < 2; ++axis) {
      const double way = row[n] < 0 ? v[axis] * step_s : (box[axis] - place[2 * row[n] + axis]) / elapsed;
      moved[2 * n + axis] = usable[n] ? static_cast<float>(way) : 0.0f;
      told[2 * n + axis] = usable[n] ? static_cast<float>(v[axis]) : 0.0f;
    }
  }
  std::iota(order, order + tracks, int64_t{0});
  std::sort(order, order + tracks, [keys](int64_t a, int64_t b) { return keys[a] < keys[b] || (keys[a] == keys[b] && a < b); });
  for (int64_t n = 0; n < tracks; ++n) sorted[n] = keys[order[n]];
  return same ? 1 : 0;
}

int32_t percept_path_answer(const float *window, const float *age, const int64_t *groups, const double *boxes,
                            const double *velocity, const double *turn, const uint8_t *usable, const float *learned,
                            const float *sigma, const int64_t *marks, const double *times, const int64_t *spans,
                            const double *limits, const int64_t *straight_of, const double *share_of, const double *pose,
                            const double *twist, const uint8_t *names, int64_t tracks, int64_t width, int64_t judged,
                            int64_t steps, int64_t stride, int64_t count, int64_t kinds, double step_s, double path_step_s,
                            double least_m, double least_sigma, double *said, double *paths, double *spread, double *familiar,
                            uint8_t *method) {
  if (tracks < 0 || tracks > kMost || judged < 1 || judged > 64 || steps < 1 || stride < steps || count < 1 || count > 64) return -2;
  if (tracks == 0) return 0;
  if (!groups || !usable || !learned || !marks || !times || !straight_of || !share_of || !pose || !twist || !names) return -1;
  if (!turn || !said || !familiar || !method || kinds < 1) return -1;
  if (!within(marks, judged, 0, steps) || !within(straight_of, kinds, 1, count + 2)) return -4;
  const auto sized = [](int64_t n) { return static_cast<size_t>(n); };
  std::vector<float> at(sized(tracks * judged * 2));
  std::vector<double> when(sized(judged)), straight(sized((count + 1) * tracks * 2)), mean(sized(2 * tracks));
  std::vector<double> share(sized(tracks)), position(sized(tracks)), speed(sized(tracks));
  std::vector<uint8_t> own(sized(tracks));
  for (int64_t m = 0; m < judged; ++m) {
    when[m] = times[marks[m]];
    for (int64_t n = 0; n < 2 * tracks; ++n) at[(n / 2 * judged + m) * 2 + n % 2] = learned[n * stride + marks[m]];
  }
  int32_t code = percept_path_experts(window, age, groups, boxes, velocity, turn, at.data(), when.data(), spans, limits, tracks,
                                      width, judged, count, kinds, step_s, straight.data(), said, familiar);
  if (code < 0) return code;
  for (int64_t n = 0; n < tracks; ++n) {
    const int64_t expert = straight_of[groups[n]] - 1;
    share[n] = usable[n] ? familiar[n] * share_of[groups[n]] : 0.0;
    own[n] = expert == count;
    std::copy_n(straight.data() + 2 * (expert * tracks + n), 2, mean.data() + 2 * n);
    position[n] = 0.5 * (pose[36 * n] + pose[36 * n + 7]);
    speed[n] = 0.5 * (twist[36 * n] + twist[36 * n + 7]);
    method[n] = share[n] >= 0.5 ? names[0] : names[own[n] && turn[n] != 0.0 ? 1 : 2];
  }
  code = percept_paths(boxes, velocity, turn, mean.data(), own.data(), share.data(), learned, tracks, steps, stride, path_step_s,
                       least_m, paths);
  if (code < 0) return code;
  return percept_path_spread(sigma, share.data(), position.data(), speed.data(), times, tracks, steps, stride, least_sigma, spread);
}
