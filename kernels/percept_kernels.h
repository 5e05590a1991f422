// Plain C interface of the hot loops. Loaded with ctypes (which releases the GIL) by percept_ros/native.py.
// Arrays are contiguous, row major, owned by the caller. Functions return >= 0 on success, < 0 on bad arguments.
#pragma once
#include <cstddef>
#include <cstdint>

#define PERCEPT_API extern "C" __attribute__((visibility("default")))

PERCEPT_API int32_t percept_kernels_abi();
