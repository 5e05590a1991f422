// Optimal assignment by shortest augmenting paths (Jonker and Volgenant, Computing 38, 1987), on sparse gated costs.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace percept::tracking {

struct Pair {
  int row, col;
  double cost;
};

class Assignment {
 public:
  // Dense square-or-wide problem, n rows <= m columns; row_to_col (n) is filled. Costs must be finite.
  void dense(const double* cost, int n, int m, int* row_to_col) {
    constexpr double inf = std::numeric_limits<double>::infinity();
    u_.assign(n + 1, 0);
    v_.assign(m + 1, 0);
    col_row_.assign(m + 1, 0);
    way_.assign(m + 1, 0);
    for (int i = 1; i <= n; ++i) {
      col_row_[0] = i;
      int j0 = 0;
      least_.assign(m + 1, inf);
      used_.assign(m + 1, 0);
      do {
        used_[j0] = 1;
        const int i0 = col_row_[j0];
        double delta = inf;
        int j1 = 0;
        for (int j = 1; j <= m; ++j) {
          if (used_[j]) continue;
          const double c = cost[(i0 - 1) * static_cast<int64_t>(m) + j - 1] - u_[i0] - v_[j];
          if (c < least_[j]) least_[j] = c, way_[j] = j0;
          if (least_[j] < delta) delta = least_[j], j1 = j;
        }
        for (int j = 0; j <= m; ++j) {
          if (used_[j]) u_[col_row_[j]] += delta, v_[j] -= delta;
          else least_[j] -= delta;
        }
        j0 = j1;
      } while (col_row_[j0] != 0);
      do {
        const int j1 = way_[j0];
        col_row_[j0] = col_row_[j1];
        j0 = j1;
      } while (j0);
    }
    for (int j = 1; j <= m; ++j)
      if (col_row_[j] > 0) row_to_col[col_row_[j] - 1] = j - 1;
  }

  // Gated pairs only: as many matches as possible, then least total cost; connected groups are solved apart.
  void sparse(const std::vector<Pair>& pairs, int rows, int cols, std::vector<int>& row_to_col) {
    row_to_col.assign(rows, -1);
    parent_.resize(rows + cols);
    std::iota(parent_.begin(), parent_.end(), 0);
    for (const Pair& p : pairs) parent_[find(p.row)] = find(rows + p.col);
    order_.resize(pairs.size());
    std::iota(order_.begin(), order_.end(), 0);
    group_.resize(pairs.size());
    for (size_t i = 0; i < pairs.size(); ++i) group_[i] = find(pairs[i].row);
    std::sort(order_.begin(), order_.end(), [&](int a, int b) { return group_[a] != group_[b] ? group_[a] < group_[b] : a < b; });
    for (size_t i = 0; i < order_.size();) {
      size_t j = i;
      while (j < order_.size() && group_[order_[j]] == group_[order_[i]]) ++j;
      solveGroup(pairs, i, j, row_to_col);
      i = j;
    }
  }

 private:
  int find(int a) {
    while (parent_[a] != a) a = parent_[a] = parent_[parent_[a]];
    return a;
  }

  void solveGroup(const std::vector<Pair>& pairs, size_t i, size_t j, std::vector<int>& row_to_col) {
    if (j - i == 1) {
      row_to_col[pairs[order_[i]].row] = pairs[order_[i]].col;
      return;
    }
    rows_.clear();
    cols_.clear();
    for (size_t k = i; k < j; ++k) {
      rows_.push_back(pairs[order_[k]].row);
      cols_.push_back(pairs[order_[k]].col);
    }
    for (auto* list : {&rows_, &cols_}) {
      std::sort(list->begin(), list->end());
      list->erase(std::unique(list->begin(), list->end()), list->end());
    }
    const bool flip = rows_.size() > cols_.size();
    const auto& a = flip ? cols_ : rows_;
    const auto& b = flip ? rows_ : cols_;
    const int n = static_cast<int>(a.size()), m = static_cast<int>(b.size());
    constexpr double far = 1e6;
    cost_.assign(static_cast<size_t>(n) * m, far);
    for (size_t k = i; k < j; ++k) {
      const Pair& p = pairs[order_[k]];
      const int x = flip ? p.col : p.row, y = flip ? p.row : p.col;
      const auto r = std::lower_bound(a.begin(), a.end(), x) - a.begin(), c = std::lower_bound(b.begin(), b.end(), y) - b.begin();
      cost_[r * m + c] = p.cost;
    }
    found_.assign(n, -1);
    dense(cost_.data(), n, m, found_.data());
    for (int r = 0; r < n; ++r) {
      if (found_[r] < 0 || cost_[static_cast<size_t>(r) * m + found_[r]] >= far) continue;
      if (flip) row_to_col[b[found_[r]]] = a[r];
      else row_to_col[a[r]] = b[found_[r]];
    }
  }

  std::vector<double> u_, v_, least_, cost_;
  std::vector<int> col_row_, way_, parent_, order_, group_, rows_, cols_, found_;
  std::vector<char> used_;
};

}  // namespace percept::tracking
