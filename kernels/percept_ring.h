// Shared-memory frame slots: one writer, many readers, no locks. A slot starts with a 64-byte control line:
//   0 generation u64 (odd while being written)   8 payload bytes u64   16 stamp_ns i64   24 frame header, 24 bytes
//   48 channels u32   52 unused                  64 payload
// Addresses must be 8-byte aligned; functions return < 0 on bad arguments.
#pragma once
#include "percept_kernels.h"

// Acquire load and release store of one 64-bit counter.
PERCEPT_API uint64_t percept_ring_load(const void* counter);
PERCEPT_API int32_t percept_ring_store(void* counter, uint64_t value);

// Open a slot for writing: generation becomes odd before any other byte changes; control bytes 8..63 from `control` (56 bytes).
PERCEPT_API int32_t percept_ring_begin(void* slot, uint64_t generation, const void* control);

// Close it: its generation becomes even, and the counter `head` says so.
PERCEPT_API int32_t percept_ring_commit(void* slot, uint64_t generation, void* head);

// Whole write: begin, control bytes 8..63 from `control` (56 bytes), rows of `row_bytes` from `src` with pitch `src_stride`, commit;
// then the counter `head` says so.
PERCEPT_API int64_t percept_ring_write(void* slot, uint64_t capacity, uint64_t generation, const void* control,
                                       const void* src, int64_t rows, int64_t row_bytes, int64_t src_stride,
                                       void* head);

// 1 when the slot still holds `generation` after all reads made so far, else 0.
PERCEPT_API int32_t percept_ring_valid(const void* slot, uint64_t generation);

// Copy control bytes 8..63 into `control` and up to `capacity` payload bytes into `dst` (may be null with capacity 0).
// Returns payload bytes, or -2 when the slot holds another generation before or after the copy.
PERCEPT_API int64_t percept_ring_read(const void* slot, uint64_t generation, uint64_t limit, void* control, void* dst,
                                      uint64_t capacity);

// 1 when the slot holds `generation` and its frame has size, shape and format of the control line `known` (56 bytes), 0 when
// another shape, -2 when the slot holds another generation.
PERCEPT_API int32_t percept_ring_alike(const void* slot, uint64_t generation, const void* known);

// Sleep until CLOCK_MONOTONIC reads `deadline_ns`; returns 0, or the errno of clock_nanosleep.
PERCEPT_API int32_t percept_sleep_until(int64_t deadline_ns);
