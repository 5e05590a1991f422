#include "../percept_paths.h"

#include <cmath>

namespace {

constexpr double kPi = 3.14159265358979323846;

double wrapped(double angle) { return angle - 2.0 * kPi * std::floor(angle / (2.0 * kPi) + 0.5); }

// Angle of (along, cross): a series where it is small, which path turns nearly always are.
double small_angle(double cross, double along) {
  const double limit = 0.1 * along;
  if (!(cross < limit && cross > -limit)) return std::atan2(cross, along);
  const double r = cross / along, q = r * r;
  return r * (1.0 - q * (1.0 / 3.0 - q * (1.0 / 5.0 - q * (1.0 / 7.0 - q / 9.0))));
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

// Yaw that turns as the course of the steps turns.
class Course {
 public:
  explicit Course(double least_m) : least2_(least_m * least_m) {}

  double next(double x, double y) {
    const double dx = x - x_, dy = y - y_;
    const bool moves = dx * dx + dy * dy >= least2_;
    if (moves && moved_) turned_ += small_angle(dx_ * dy - dy_ * dx, dx_ * dx + dy_ * dy);
    x_ = x, y_ = y, dx_ = dx, dy_ = dy, moved_ = moves;
    return turned_;
  }

 private:
  double least2_, x_ = 0.0, y_ = 0.0, dx_ = 0.0, dy_ = 0.0, turned_ = 0.0;
  bool moved_ = false;
};

}  // namespace

int32_t percept_paths(const double *boxes, const double *velocity, const double *turn_radps, const double *straight,
                      const uint8_t *own, const double *share, const float *learned, int64_t tracks, int64_t steps,
                      int64_t stride, double step_s, double least_m, double *paths) {
  if (tracks < 0 || steps < 1 || stride < steps || tracks > (1 << 24) || steps > (1 << 16)) return -2;
  if (tracks == 0) return 0;
  if (!boxes || !velocity || !turn_radps || !straight || !own || !share || !paths) return -1;
  if (!(step_s > 0.0) || !(least_m >= 0.0)) return -3;
  for (int64_t n = 0; n < tracks; ++n) {
    const double *box = boxes + 7 * n;
    const double part = share[n], yaw = box[6];
    if (part > 0.0 && !learned) return -1;
    const float *east = learned ? learned + 2 * stride * n : nullptr;
    const bool own_motion = own[n] != 0, bent = part > 0.0 || !own_motion;
    Motion motion(own_motion ? velocity + 2 * n : straight + 2 * n, own_motion ? turn_radps[n] : 0.0, step_s);
    Course course(least_m);
    double *out = paths + 3 * steps * n;
    for (int64_t t = 0; t < steps; ++t, out += 3) {
      motion.next();
      double x = motion.x, y = motion.y;
      if (part > 0.0) {
        x += part * (static_cast<double>(east[t]) - x);
        y += part * (static_cast<double>(east[stride + t]) - y);
      }
      out[0] = box[0] + x;
      out[1] = box[1] + y;
      out[2] = wrapped(yaw + (bent ? course.next(x, y) : motion.turned));
    }
  }
  return 0;
}
