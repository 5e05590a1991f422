// A sparse look at an image: what it takes to notice that it stands still, is blank, or is noise.
#pragma once
#include "percept_kernels.h"

// image: rows of `row_bytes`, each with `width` pixels of 3 bytes. Every `stride`-th pixel of every `stride`-th row goes into
// sample (ceil(height / stride), ceil(width / stride), 3). figures[0] and [1]: mean and standard deviation of the sample;
// [2]: mean absolute difference of each sampled pixel and the one to its right, 0 where there is none.
// Returns the bytes of the sample, < 0 on bad arguments.
PERCEPT_API int64_t percept_screen_image(const uint8_t *image, int64_t height, int64_t width, int64_t row_bytes,
                                         int64_t stride, uint8_t *sample, double *figures);
