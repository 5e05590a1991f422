// Fused operator of pillar networks: scatter to a dense grid, normalise, quantise, in one pass.
#pragma once
#include "percept_kernels.h"

// canvas (channels, height, width) int8 = clamp(round((value - mean[c]) * inverse_std[c] / scale) + zero_point), where value is
// features (pillars, channels) float32 at its cell and 0 elsewhere. Rounding is half to even. cells (pillars,) int32 is
// row * width + column; cells outside the grid are skipped (padding is -1), of equal cells the last wins. Returns the number of
// pillars written, < 0 on bad arguments.
PERCEPT_API int32_t percept_scatter_quantize(const float *features, const int32_t *cells, int32_t pillars, int32_t channels,
                                             int32_t height, int32_t width, const float *mean, const float *inverse_std,
                                             float scale, int32_t zero_point, int8_t *canvas);
