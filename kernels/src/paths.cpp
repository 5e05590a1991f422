#include "../percept_paths.h"

#include <cmath>
#include <vector>

namespace {

constexpr double kPi = 3.14159265358979323846;

double wrapped(double angle) {
  if (angle >= -kPi && angle < kPi) return angle;
  return angle - 2.0 * kPi * std::floor(angle / (2.0 * kPi) + 0.5);
}

// Constant turn rate and speed: the chord of the arc is v t sin(h) / h at course + h, h = turn t / 2.
class Motion {
 public:
  Motion(const double *velocity, double turn_radps, double step_s)
      : vx_(velocity[0]), vy_(velocity[1]), half_step_(0.5 * turn_radps * step_s), step_s_(step_s) {
    turn_cos_ = std::cos(half_step_);
    turn_sin_ = std::sin(half_step_);
  }

  void next() {
    ++steps_;
    const double c = cos_ * turn_cos_ - sin_ * turn_sin_;
    sin_ = sin_ * turn_cos_ + cos_ * turn_sin_;
    cos_ = c;
    const double half = half_step_ * steps_;
    const double length = step_s_ * steps_ * (std::fabs(half) > 1e-9 ? sin_ / half : 1.0);
    x = length * (vx_ * cos_ - vy_ * sin_);
    y = length * (vx_ * sin_ + vy_ * cos_);
    turned = 2.0 * half;
  }

  double x = 0.0, y = 0.0, turned = 0.0;

 private:
  double vx_, vy_, half_step_, step_s_, turn_cos_, turn_sin_, cos_ = 1.0, sin_ = 0.0;
  int64_t steps_ = 0;
};

// One path, x and y from here, and how far its course has turned at each step.
class Path {
 public:
  explicit Path(int64_t steps) : steps_(steps), x_(steps), y_(steps), dx_(steps), dy_(steps), turn_(steps), moves_(steps) {}

  void straight(const double *velocity, double step_s) {
    for (int64_t t = 0; t < steps_; ++t) {
      const double length = step_s * static_cast<double>(t + 1);
      x_[t] = length * velocity[0], y_[t] = length * velocity[1], turn_[t] = 0.0;
    }
  }

  void turning(const double *velocity, double turn_radps, double step_s) {
    Motion motion(velocity, turn_radps, step_s);
    for (int64_t t = 0; t < steps_; ++t) {
      motion.next();
      x_[t] = motion.x, y_[t] = motion.y, turn_[t] = motion.turned;
    }
  }

  void blend(const float *east, const float *north, double share) {
    for (int64_t t = 0; t < steps_; ++t) {
      x_[t] += share * (static_cast<double>(east[t]) - x_[t]);
      y_[t] += share * (static_cast<double>(north[t]) - y_[t]);
    }
  }

  // Turn as the course of the steps does; steps shorter than least_m do not.
  void follow(double least_m) {
    const double least2 = least_m * least_m;
    dx_[0] = x_[0], dy_[0] = y_[0];
    for (int64_t t = 1; t < steps_; ++t) dx_[t] = x_[t] - x_[t - 1], dy_[t] = y_[t] - y_[t - 1];
    for (int64_t t = 0; t < steps_; ++t) moves_[t] = dx_[t] * dx_[t] + dy_[t] * dy_[t] >= least2 ? 1.0 : 0.0;
    turn_[0] = 0.0;
    bool wide = false;
    for (int64_t t = 1; t < steps_; ++t) {
      const double along = dx_[t - 1] * dx_[t] + dy_[t - 1] * dy_[t], cross = dx_[t - 1] * dy_[t] - dy_[t - 1] * dx_[t];
      const bool counts = moves_[t - 1] * moves_[t] > 0.0, small = std::fabs(cross) < 0.1 * along;
      const double r = cross / (counts ? along : 1.0), q = r * r;
      turn_[t] = counts ? r * (1.0 - q * (1.0 / 3.0 - q * (1.0 / 5.0 - q * (1.0 / 7.0 - q / 9.0)))) : 0.0;
      wide |= counts & !small;
    }
    if (wide) widen();
    for (int64_t t = 1; t < steps_; ++t) turn_[t] += turn_[t - 1];
  }

  void write(const double *box, double *out) const {
    for (int64_t t = 0; t < steps_; ++t, out += 3) out[0] = box[0] + x_[t], out[1] = box[1] + y_[t], out[2] = wrapped(box[6] + turn_[t]);
  }

 private:
  // The series is for small turns, which nearly all are.
  void widen() {
    for (int64_t t = 1; t < steps_; ++t) {
      const double along = dx_[t - 1] * dx_[t] + dy_[t - 1] * dy_[t], cross = dx_[t - 1] * dy_[t] - dy_[t - 1] * dx_[t];
      if (moves_[t - 1] * moves_[t] > 0.0 && !(std::fabs(cross) < 0.1 * along)) turn_[t] = std::atan2(cross, along);
    }
  }

  int64_t steps_;
  std::vector<double> x_, y_, dx_, dy_, turn_, moves_;
};

}  // namespace

int32_t percept_paths(const double *boxes, const double *velocity, const double *turn_radps, const double *straight,
                      const uint8_t *own, const double *share, const float *learned, int64_t tracks, int64_t steps,
                      int64_t stride, double step_s, double least_m, double *paths) {
  if (tracks < 0 || steps < 1 || stride < steps || tracks > (1 << 24) || steps > (1 << 16)) return -2;
  if (tracks == 0) return 0;
  if (!boxes || !velocity || !turn_radps || !straight || !own || !share || !paths) return -1;
  if (!(step_s > 0.0) || !(least_m >= 0.0)) return -3;
  Path path(steps);
  for (int64_t n = 0; n < tracks; ++n) {
    const bool used = share[n] > 0.0, turns = own[n] && turn_radps[n] != 0.0;
    if (used && !learned) return -1;
    if (turns) {
      path.turning(velocity + 2 * n, turn_radps[n], step_s);
    } else {
      path.straight((own[n] ? velocity : straight) + 2 * n, step_s);
    }
    if (used) {
      path.blend(learned + 2 * stride * n, learned + 2 * stride * n + stride, share[n]);
      path.follow(least_m);
    }
    path.write(boxes + 7 * n, paths + 3 * steps * n);
  }
  return 0;
}
