// CLEAR MOT counts of one sequence at one score threshold, as the public KITTI 3D evaluator counts them.
#include <cstring>

#include "../percept_tracking.h"
#include "tracking_assignment.h"

using namespace percept::tracking;

namespace {

struct Counts {  // order of COUNTS in percept_ros/evaluate/mot.py
  double gt, tp, fp, fn, ignored_tp, overlap, switches, fragments;
};

// Identity switches and fragmentations along one ground-truth trajectory; a: tracks per labelled frame, -1 none.
void followTrajectory(const std::vector<int64_t>& a, const std::vector<char>& ignored, Counts& c) {
  const size_t n = a.size();
  if (std::all_of(ignored.begin(), ignored.end(), [](char i) { return i != 0; })) return;
  if (std::all_of(a.begin(), a.end(), [](int64_t t) { return t == -1; })) return;
  int64_t last = a[0];
  for (size_t f = 1; f < n; ++f) {
    if (ignored[f]) {
      last = -1;
      continue;
    }
    if (last != a[f] && last != -1 && a[f] != -1 && a[f - 1] != -1) c.switches += 1;
    if (f + 1 < n && a[f - 1] != a[f] && last != -1 && a[f] != -1 && a[f + 1] != -1) c.fragments += 1;
    if (a[f] != -1) last = a[f];
  }
  if (n > 1 && a[n - 2] != a[n - 1] && last != -1 && a[n - 1] != -1 && !ignored[n - 1]) c.fragments += 1;
}

}  // namespace

int32_t percept_mot_count(int64_t frames, const int64_t* gt_from, const uint8_t* gt_ignorable, const int64_t* gt_track,
                          int64_t gt_tracks, const int64_t* row_from, const int64_t* row_track, const uint8_t* row_ignorable,
                          const int64_t* pair_from, const double* overlaps, double least, const uint8_t* keep,
                          uint8_t* row_valid, int64_t* gt_row, double* counts) {
  if (frames < 0 || gt_tracks < 0 || !gt_from || !row_from || !pair_from || !counts) return -1;
  Counts c{};
  Assignment assignment;
  std::vector<Pair> pairs;
  std::vector<int> found;
  std::vector<std::vector<int64_t>> path(gt_tracks);
  std::vector<std::vector<char>> path_ignored(gt_tracks);
  for (int64_t f = 0; f < frames; ++f) {
    const int64_t g0 = gt_from[f], ng = gt_from[f + 1] - g0, r0 = row_from[f], nr = row_from[f + 1] - r0;
    pairs.clear();
    int64_t shown = 0;
    for (int64_t j = 0; j < nr; ++j) shown += keep[row_track[r0 + j]] != 0;
    for (int64_t i = 0; i < ng; ++i)
      for (int64_t j = 0; j < nr; ++j) {
        const double o = overlaps[pair_from[f] + i * nr + j];
        if (keep[row_track[r0 + j]] && o >= least) pairs.push_back({static_cast<int>(i), static_cast<int>(j), 1 - o});
      }
    assignment.sparse(pairs, static_cast<int>(ng), static_cast<int>(nr), found);
    double tp = 0, ignored_tp = 0, ignored_fn = 0, ignored_rows = 0;
    for (int64_t i = 0; i < ng; ++i) {
      const int j = found[i];
      const bool skip = gt_ignorable[g0 + i] != 0;
      gt_row[g0 + i] = j < 0 ? -1 : r0 + j;
      if (gt_track[g0 + i] < 0 || gt_track[g0 + i] >= gt_tracks) return -1;
      path[gt_track[g0 + i]].push_back(j < 0 ? -1 : row_track[r0 + j]);
      path_ignored[gt_track[g0 + i]].push_back(skip);
      if (j >= 0) {
        row_valid[r0 + j] = 1;
        c.overlap += overlaps[pair_from[f] + i * nr + j];
        tp += 1;
        ignored_tp += skip;
      } else {
        ignored_fn += skip;
      }
    }
    for (int64_t j = 0; j < nr; ++j)
      ignored_rows += keep[row_track[r0 + j]] && row_ignorable[r0 + j] && !row_valid[r0 + j];
    c.gt += static_cast<double>(ng) - ignored_fn - ignored_tp;
    c.tp += tp;
    c.ignored_tp += ignored_tp;
    c.fn += static_cast<double>(ng) - tp - ignored_fn;
    c.fp += static_cast<double>(shown) - tp - ignored_rows;
  }
  for (int64_t k = 0; k < gt_tracks; ++k)
    if (!path[k].empty()) followTrajectory(path[k], path_ignored[k], c);
  std::memcpy(counts, &c, sizeof c);
  return 0;
}
