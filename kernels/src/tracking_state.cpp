// The state of a tracker as bytes, so that another process can go on with the same tracks. Same build on both sides.
#include <type_traits>

#include "tracking_tracker.h"

namespace percept::tracking {

static_assert(std::is_trivially_copyable_v<Track>, "tracks are saved as they lie in memory");

namespace {

constexpr uint64_t kMagic = 0x314b434152544350;  // PCTRACK1

struct Head {
  uint64_t magic;
  int64_t track_bytes, count, stamp_ns, born;
  double ego[3];
  int64_t started;
};

bool sound(const Track& t) {
  bool ok = t.cls >= 0 && t.cls < kClasses && std::isfinite(t.existence) && std::isfinite(t.z);
  for (double v : t.x) ok = ok && std::isfinite(v);
  for (double v : t.P) ok = ok && std::isfinite(v);
  for (double v : t.size) ok = ok && std::isfinite(v) && v > 0;
  return ok;
}

}  // namespace

int64_t Tracker::save(uint8_t* out, int64_t capacity) const {
  const int64_t count = static_cast<int64_t>(tracks_.size()), need = sizeof(Head) + count * sizeof(Track);
  if (need > capacity) return -need;
  const Head head{kMagic, sizeof(Track), count, stamp_ns_, born_, {ego_[0], ego_[1], ego_[2]}, started_};
  std::memcpy(out, &head, sizeof head);
  if (count) std::memcpy(out + sizeof head, tracks_.data(), count * sizeof(Track));
  return need;
}

int Tracker::restore(const uint8_t* in, int64_t size) {
  Head head;
  if (size < static_cast<int64_t>(sizeof head)) return -1;
  std::memcpy(&head, in, sizeof head);
  if (head.magic != kMagic || head.track_bytes != sizeof(Track) || head.count < 0 || head.count > p_.g.max_tracks) return -1;
  if (size != static_cast<int64_t>(sizeof head + head.count * sizeof(Track))) return -1;
  std::vector<Track> tracks(head.count);
  if (head.count) std::memcpy(tracks.data(), in + sizeof head, head.count * sizeof(Track));
  for (const Track& t : tracks)
    if (!sound(t)) return -2;
  tracks_ = std::move(tracks);
  refreshGround();
  stamp_ns_ = head.stamp_ns;
  born_ = std::max(born_, head.born);
  std::memcpy(ego_, head.ego, sizeof ego_);
  started_ = head.started != 0;
  return static_cast<int>(head.count);
}

}  // namespace percept::tracking

int64_t percept_tracker_save(const void* tracker, uint8_t* out, int64_t capacity) {
  if (!tracker || (capacity > 0 && !out) || capacity < 0) return 0;
  return static_cast<const percept::tracking::Tracker*>(tracker)->save(out, capacity);
}

int32_t percept_tracker_restore(void* tracker, const uint8_t* in, int64_t size) {
  if (!tracker || !in || size < 0) return -1;
  return static_cast<percept::tracking::Tracker*>(tracker)->restore(in, size);
}
