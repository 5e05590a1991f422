#include "percept_wire.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t kNs = 1000000000;
constexpr double kMoving = 1.0;  // m/s from which the sign of a heading is known
enum Orientation : uint8_t { kUnavailable = 0, kSignUnknown = 1, kAvailable = 2 };

// Appends primitives, each aligned to its own size. After an overflow nothing more is written and `full` stays true.
class Writer {
 public:
  Writer(uint8_t *out, int64_t capacity, int64_t at) : out_(out), capacity_(capacity), at_(at) {}

  template <typename T>
  void put(const T *values, int64_t count) {
    if (count == 0) return;
    const int64_t size = sizeof(T), pad = (size - at_ % size) % size, bytes = count * size;
    if (full_ || at_ + pad + bytes > capacity_) {
      full_ = true;
      return;
    }
    std::memset(out_ + at_, 0, static_cast<size_t>(pad));
    std::memcpy(out_ + at_ + pad, values, static_cast<size_t>(bytes));
    at_ += pad + bytes;
  }
  template <typename T>
  void put(T value) {
    put(&value, 1);
  }
  void time(int64_t ns) {
    int64_t seconds = ns / kNs;
    if (ns % kNs < 0) --seconds;
    put(static_cast<int32_t>(seconds));
    put(static_cast<uint32_t>(ns - seconds * kNs));
  }
  void pose(double x, double y, double z, double yaw) {
    const double row[7] = {x, y, z, 0.0, 0.0, std::sin(yaw / 2), std::cos(yaw / 2)};
    put(row, 7);
  }
  int64_t end() const { return full_ ? -2 : at_; }

 private:
  uint8_t *out_;
  int64_t capacity_, at_;
  bool full_ = false;
};

void write_classes(Writer &to, const double *probabilities, int64_t classes, std::vector<int64_t> &order) {
  order.clear();
  for (int64_t c = 0; c < classes; ++c)
    if (probabilities[c] > 0.0) order.push_back(c);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return probabilities[a] > probabilities[b]; });
  if (order.empty()) order.push_back(0);
  to.put(static_cast<uint32_t>(order.size()));
  for (int64_t c : order) {
    to.put(static_cast<uint8_t>(c));
    to.put(static_cast<float>(probabilities[c]));
  }
}

void write_paths(Writer &to, const PerceptTrackColumns &c, const PerceptTrackSizes &s, int64_t row) {
  if (row >= s.forecasts || c.method[row] == 0) {
    to.put(uint32_t{0});
    return;
  }
  const int64_t used = c.used[row];
  const double z = c.boxes[7 * row + 2];
  to.put(static_cast<uint32_t>(s.options));
  for (int64_t option = 0; option < s.options; ++option) {
    const int64_t first = (row * s.options + option) * s.steps;
    to.put(static_cast<uint32_t>(used));
    for (int64_t i = first; i < first + used; ++i) to.pose(c.paths[3 * i], c.paths[3 * i + 1], z, c.paths[3 * i + 2]);
    to.time(s.step_ns);
    to.put(static_cast<float>(c.confidence[row * s.options + option]));
    to.put(static_cast<uint32_t>(used));
    for (int64_t i = first; i < first + used; ++i) to.put(static_cast<float>(c.sigma[i]));
    to.put(c.method[row]);
  }
}

uint8_t orientation(uint8_t kind, const double *velocity) {
  if (!(kind & 1)) return kUnavailable;
  return std::hypot(velocity[0], velocity[1]) > kMoving ? kAvailable : kSignUnknown;
}

void write_track(Writer &to, const PerceptTrackColumns &c, const PerceptTrackSizes &s, int64_t i,
                 std::vector<int64_t> &order) {
  const double *box = c.boxes + 7 * i, *velocity = c.velocity + 2 * i, *probabilities = c.probabilities + s.classes * i;
  const uint8_t kind = c.kind[std::max_element(probabilities, probabilities + s.classes) - probabilities];
  to.put(c.id + 16 * i, 16);
  to.put(static_cast<float>(c.existence[i]));
  write_classes(to, probabilities, s.classes, order);
  to.pose(box[0], box[1], box[2], box[6]);
  to.put(c.pose_covariance + 36 * i, 36);
  const double twist[6] = {velocity[0], velocity[1], 0.0, 0.0, 0.0, c.yaw_rate[i]};
  to.put(twist, 6);
  to.put(c.twist_covariance + 36 * i, 36);
  const double acceleration[42] = {c.acceleration[2 * i], c.acceleration[2 * i + 1]};
  to.put(acceleration, 42);
  to.put(orientation(kind, velocity));
  to.put(static_cast<uint8_t>(c.stationary[i] != 0));
  to.put(static_cast<uint8_t>(kind >> 1));
  to.put(box + 3, 3);
  to.put(uint32_t{0});
  write_paths(to, c, s, i);
  to.put(c.state[i]);
  to.time(c.age_ns[i]);
  to.time(c.since_ns[i]);
  to.put(c.sensors[i]);
}

bool sound(const PerceptTrackSizes &s, const PerceptTrackColumns &c) {
  if (s.tracks < 0 || s.classes < 1 || s.forecasts < 0 || s.options < 0 || s.steps < 0) return false;
  for (int64_t row = 0; row < std::min(s.forecasts, s.tracks); ++row)
    if (c.used[row] < 0 || c.used[row] > s.steps) return false;
  return true;
}

}  // namespace

int64_t percept_wire_tracks(uint8_t *out, int64_t capacity, int64_t at, const PerceptTrackSizes *sizes,
                            const PerceptTrackColumns *columns) {
  if (!out || !sizes || !columns || at < 0 || at > capacity || !sound(*sizes, *columns)) return -1;
  Writer to(out, capacity, at);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < sizes->tracks; ++i) write_track(to, *columns, *sizes, i, order);
  return to.end();
}
