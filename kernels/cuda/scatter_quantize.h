// The fused operator of percept_scatter.h on the GPU. All pointers are device memory.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace percept {

struct ScatterShape {
  int32_t pillars, channels, height, width;
};

// Bytes of workspace that scatter_quantize needs.
inline size_t scatter_workspace(const ScatterShape &shape) {
  return sizeof(int32_t) * static_cast<size_t>(shape.height) * static_cast<size_t>(shape.width);
}

// Puts the operator on `stream`: same result as the CPU kernel, byte for byte, whatever the order of threads (of equal cells the
// last pillar wins). Nothing is allocated and nothing waits, so that a CUDA graph can capture it.
cudaError_t scatter_quantize(const ScatterShape &shape, const float *features, const int32_t *cells, const float *mean,
                             const float *inverse_std, float scale, int32_t zero_point, int32_t *workspace, int8_t *canvas,
                             cudaStream_t stream);

}  // namespace percept
