#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../percept_path_frame.h"

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One group's record: values of (mark, expert) in arrays (marks, experts, kinds).
struct Record {
  const double *sums, *over, *squares, *evidence;
  int64_t marks, experts, kinds, group;

  double seen(int64_t mark) const { return evidence[mark * kinds + group]; }
  int64_t at(int64_t mark, int64_t expert) const { return (mark * experts + expert) * kinds + group; }

  double least_straight(const double *values, int64_t mark) const {
    double least = values[at(mark, 1)];
    for (int64_t e = 2; e < experts; ++e) least = std::min(least, values[at(mark, e)]);
    return least;
  }

  // Of the mean difference of an expert's error from the usual one's; infinite without evidence.
  double standard_error(int64_t mark, int64_t expert, double alike) const {
    const double count = std::max(seen(mark), 1e-9), mean = over[at(mark, expert)] / count;
    const double variance = std::max(squares[at(mark, expert)] / count - mean * mean, 0.0);
    const double spare = seen(mark) / alike - 1.0;
    return spare > 0.0 ? std::sqrt(variance / std::max(spare, 1e-9)) : kInfinity;
  }
};

// Mean errors, pulled to the prior: training's at the first mark, later what the one before found.
void mean_errors(const Record &r, const double *first_prior, double weight, const double *shares, double *errors) {
  std::vector<double> prior(static_cast<size_t>(r.experts));
  for (int64_t e = 0; e < r.experts; ++e) prior[e] = first_prior[e * r.kinds + r.group];
  const double network = prior[0];
  for (int64_t m = 0; m < r.marks; ++m) {
    const double usual = r.seen(m) > 0.0 ? r.least_straight(r.sums, m) / std::max(r.seen(m), 1e-9) : 1.0;
    for (int64_t e = 0; e < r.experts; ++e)
      errors[r.at(m, e)] = (r.sums[r.at(m, e)] + weight * prior[e] * std::max(usual, 1e-6)) / (r.seen(m) + weight);
    const double least = r.least_straight(errors, m);
    for (int64_t e = 0; e < r.experts; ++e) prior[e] = errors[r.at(m, e)] / least;
    prior[0] = std::max(prior[0], network);
  }
  const double scale = r.least_straight(errors, 0);  // marks without evidence, brought to the scale of the others
  for (int64_t m = 0; m < r.marks; ++m)
    if (r.seen(m) == 0.0)
      for (int64_t e = 0; e < r.experts; ++e) errors[r.at(m, e)] *= scale * shares[m] / shares[0];
}

// By how much less an error has to be: at later marks nothing where nothing was judged; the first mark has to be judged.
double margin(const Record &r, int64_t mark, int64_t expert, double alike, double doubt) {
  if (!(doubt > 0.0)) return 0.0;
  const double found = doubt * r.standard_error(mark, expert, alike);
  return mark > 0 && !std::isfinite(found) ? 0.0 : found;
}

}  // namespace

int32_t percept_path_verdict(const double *sums, const double *over, const double *squares, const double *evidence,
                             const double *prior, const double *weight, const int64_t *usual, const double *alike,
                             const uint8_t *unsure, const double *shares, int64_t marks, int64_t experts, int64_t kinds,
                             double doubt, double *errors, int64_t *straight, double *ratio) {
  if (marks < 1 || marks > 64 || experts < 2 || experts > 64 || kinds < 1 || kinds > 4096) return -2;
  if (!sums || !over || !squares || !evidence || !prior || !weight || !usual || !alike || !unsure || !shares) return -1;
  if (!errors || !straight || !ratio) return -1;
  for (int64_t g = 0; g < kinds; ++g) {
    if (usual[g] < 1 || usual[g] >= experts) return -4;
    const Record r{sums, over, squares, evidence, marks, experts, kinds, g};
    mean_errors(r, prior, weight[g], shares, errors);
    std::vector<double> total(static_cast<size_t>(experts), 0.0), wanted(total);
    ratio[g] = -kInfinity;
    for (int64_t m = 0; m < marks; ++m) {
      const double apart = alike[m * kinds + g];
      for (int64_t e = 1; e < experts; ++e) {
        total[e] += errors[r.at(m, e)];
        if (!unsure[g]) wanted[e] += margin(r, m, e, apart, doubt);
      }
      const double worst = (errors[r.at(m, 0)] + margin(r, m, 0, apart, doubt)) / r.least_straight(errors, m);
      ratio[g] = worst > ratio[g] || std::isnan(worst) ? worst : ratio[g];
    }
    straight[g] = 1;
    double best = -kInfinity;
    for (int64_t e = 1; e < experts; ++e) {
      const double gain = e == usual[g] ? 0.0 : total[usual[g]] - total[e] - wanted[e];
      if (gain > best) best = gain, straight[g] = e;
    }
  }
  return 0;
}
