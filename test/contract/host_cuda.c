/* A stand-in for libcuda.so.1 over ordinary memory, for real PyCUDA on machines without a GPU. It keeps the driver's rules
 * about contexts: a call on a thread without a current context fails with CUDA_ERROR_INVALID_CONTEXT (201). */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef int R;
enum { OK = 0, BAD_VALUE = 1, NO_MEMORY = 2, INVALID_CONTEXT = 201, UNSUPPORTED = 801 };
#define API __attribute__((visibility("default")))

static int primary, references;
static long live;
static __thread void *stack[16];
static __thread int depth;

static R current(void) { return depth > 0 && references > 0 ? OK : INVALID_CONTEXT; }
API long host_cuda_live(void) { return live; }
API int host_cuda_references(void) { return references; }

API R cuInit(unsigned flags) { (void)flags; return OK; }
API R cuDriverGetVersion(int *v) { *v = 13000; return OK; }
API R cuDeviceGetCount(int *n) { *n = 1; return OK; }
API R cuDeviceGet(int *d, int i) { *d = i; return i == 0 ? OK : 101; }
API R cuDeviceGetName(char *s, int n, int d) { (void)d; strncpy(s, "Host memory", (size_t)n); return OK; }
API R cuDeviceTotalMem_v2(size_t *b, int d) { (void)d; *b = 1u << 30; return OK; }
API R cuDeviceComputeCapability(int *a, int *b, int d) { (void)d; *a = 8; *b = 9; return OK; }
API R cuDeviceGetAttribute(int *v, int a, int d) { (void)d; *v = a == 75 ? 8 : a == 76 ? 9 : 1; return OK; }
API R cuDevicePrimaryCtxRetain(void **c, int d) { (void)d; references++; *c = &primary; return OK; }
API R cuDevicePrimaryCtxRelease_v2(int d) { (void)d; references--; return OK; }
API R cuCtxPushCurrent_v2(void *c) { if (depth == 16) return BAD_VALUE; stack[depth++] = c; return OK; }
API R cuCtxPopCurrent_v2(void **c) { if (!depth) return INVALID_CONTEXT; void *p = stack[--depth]; if (c) *c = p; return OK; }
API R cuCtxGetDevice(int *d) { *d = 0; return current(); }
API R cuCtxSynchronize(void) { return current(); }
API R cuGetErrorString(R e, const char **s) {
  *s = e == INVALID_CONTEXT ? "invalid device context" : e == NO_MEMORY ? "out of memory" : "error";
  return OK;
}
static R get(void **p, size_t n) {
  if (current()) return current();
  if (n > (1u << 30)) return NO_MEMORY;
  *p = aligned_alloc(256, (n + 255) / 256 * 256);
  live += *p != NULL;
  return *p ? OK : NO_MEMORY;
}
static R put(void *p) { if (current()) return current(); live -= p != NULL; free(p); return OK; }
API R cuMemAlloc_v2(void **p, size_t n) { return get(p, n); }
API R cuMemFree_v2(void *p) { return put(p); }
API R cuMemHostAlloc(void **p, size_t n, unsigned f) { (void)f; return get(p, n); }
API R cuMemFreeHost(void *p) { return put(p); }
static R copy(void *d, const void *s, size_t n) { if (current()) return current(); memcpy(d, s, n); return OK; }
API R cuMemcpyHtoDAsync_v2(void *d, const void *s, size_t n, void *q) { (void)q; return copy(d, s, n); }
API R cuMemcpyDtoHAsync_v2(void *d, const void *s, size_t n, void *q) { (void)q; return copy(d, s, n); }
static R make(void **p) { if (current()) return current(); live++; *p = malloc(1); return OK; }
API R cuStreamCreate(void **s, unsigned f) { (void)f; return make(s); }
API R cuStreamDestroy_v2(void *s) { return put(s); }
API R cuStreamSynchronize(void *s) { (void)s; return current(); }
API R cuStreamQuery(void *s) { (void)s; return current(); }
API R cuStreamWaitEvent(void *s, void *e, unsigned f) { (void)s; (void)e; (void)f; return current(); }
API R cuEventCreate(void **e, unsigned f) { (void)f; return make(e); }
API R cuEventDestroy_v2(void *e) { return put(e); }
API R cuEventRecord(void *e, void *s) { (void)e; (void)s; return current(); }
API R cuEventSynchronize(void *e) { (void)e; return current(); }

/* Everything else that PyCUDA links to is there and refuses. */
#define NONE(name) API R name(void) { return UNSUPPORTED; }
#include "host_cuda_missing.h"
