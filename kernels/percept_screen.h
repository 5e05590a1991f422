// A sparse look at what a sensor sent: what it takes to notice that it stands still, is blank, or is noise.
#pragma once
#include "percept_kernels.h"

// image: rows of `row_bytes`, each with `width` pixels of 3 bytes. Every `stride`-th pixel of every `stride`-th row goes into
// sample (ceil(height / stride), ceil(width / stride), 3). before: the sample of the image before, of the same size, or null.
// figures[0] and [1]: mean and standard deviation of the sample; [2]: mean absolute difference of each sampled pixel and the one
// to its right, 0 where there is none; [3]: share of all sampled bytes that are those of `before`; [4]: the same of those that
// are neither dark (up to 8) nor bright (from 247), 0 where there is none.
// Returns the bytes of the sample, < 0 on bad arguments.
PERCEPT_API int64_t percept_screen_image(const uint8_t *image, int64_t height, int64_t width, int64_t row_bytes,
                                         int64_t stride, const uint8_t *before, uint8_t *sample, double *figures);

// points: `count` points of 3 floats, `point_bytes` apart; intensity: as many floats, `intensity_bytes` apart, or null. Of every
// `stride`-th point the intensity goes into sample, or x, y, z when intensity is missing or the same everywhere; sample has room
// for 3 ceil(count / stride) floats. before: the `before_size` floats of the sample before, or null.
// figures[0]: median absolute difference, metres, of the ranges of every `stride`-th point and the one stored behind it, NaN
// where there is none; [1]: share of the sample that is that of `before` to the bit, 0 when the sizes differ.
// Returns the floats in the sample, < 0 on bad arguments.
PERCEPT_API int64_t percept_screen_points(const uint8_t *points, int64_t count, int64_t point_bytes, const uint8_t *intensity,
                                          int64_t intensity_bytes, int64_t stride, const float *before, int64_t before_size,
                                          float *sample, double *figures);
