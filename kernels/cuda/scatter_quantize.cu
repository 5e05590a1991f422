#include "scatter_quantize.h"

namespace percept {
namespace {

constexpr int kThreads = 256;

__global__ void claim(const int32_t *cells, int32_t pillars, int32_t area, int32_t *owner) {
  const int32_t pillar = blockIdx.x * blockDim.x + threadIdx.x;
  if (pillar >= pillars) return;
  const int32_t cell = cells[pillar];
  if (cell >= 0 && cell < area) atomicMax(&owner[cell], pillar);
}

// One thread a cell, one block row a channel: reads are gathered, writes are coalesced and each byte is written once.
__global__ void draw(const float *features, const int32_t *owner, int32_t channels, int32_t area, const float *mean,
                     const float *inverse_std, float scale, float zero_point, int8_t *canvas) {
  const int32_t cell = blockIdx.x * blockDim.x + threadIdx.x, channel = blockIdx.y;
  if (cell >= area) return;
  const int32_t pillar = owner[cell];
  const float centre = mean[channel];
  float value = pillar < 0 ? 0.f : features[static_cast<int64_t>(pillar) * channels + channel];
  value = isnan(value) ? centre : value;
  const float factor = __fdiv_rn(inverse_std[channel], scale);
  const float q = __fadd_rn(rintf(__fmul_rn(__fsub_rn(value, centre), factor)), zero_point);
  canvas[static_cast<int64_t>(channel) * area + cell] = static_cast<int8_t>(fminf(fmaxf(q, -128.f), 127.f));
}

int32_t blocks(int32_t count) { return (count + kThreads - 1) / kThreads; }

}  // namespace

cudaError_t scatter_quantize(const ScatterShape &shape, const float *features, const int32_t *cells, const float *mean,
                             const float *inverse_std, float scale, int32_t zero_point, int32_t *workspace, int8_t *canvas,
                             cudaStream_t stream) {
  const int32_t area = shape.height * shape.width;
  if (area < 1 || shape.channels < 1 || shape.channels > 65535 || shape.pillars < 0) return cudaErrorInvalidValue;
  if (cudaError_t bad = cudaMemsetAsync(workspace, 0xff, scatter_workspace(shape), stream)) return bad;  // -1 everywhere
  if (shape.pillars > 0) claim<<<blocks(shape.pillars), kThreads, 0, stream>>>(cells, shape.pillars, area, workspace);
  const dim3 grid(blocks(area), shape.channels);
  draw<<<grid, kThreads, 0, stream>>>(features, workspace, shape.channels, area, mean, inverse_std, scale,
                                      static_cast<float>(zero_point), canvas);
  return cudaGetLastError();
}

}  // namespace percept
