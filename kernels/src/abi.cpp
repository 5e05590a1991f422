#include "percept_kernels.h"

int32_t percept_kernels_abi() { return 1; }
