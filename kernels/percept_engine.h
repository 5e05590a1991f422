/* Plain C interface of an engine in a shared object (a model's artefact of format `kernel`).
 *
 * The host opens the object, calls percept_engine_abi() and refuses another version, then calls create_engine(). Calls
 * come from one thread at a time. Tensors are C-contiguous and belong to the host: inputs are read in place, outputs
 * are written in place (no copy on either side), and neither is touched after run() returns. Nothing may throw or exit
 * through these functions. The host tries an engine in a child process on zeros before it opens it in its own.
 */
#ifndef PERCEPT_ENGINE_H
#define PERCEPT_ENGINE_H

#include <stdint.h>

#define PERCEPT_ENGINE_ABI 1
#define PERCEPT_MAX_RANK 8
#define PERCEPT_NAME_BYTES 64

#ifdef __cplusplus
#define PERCEPT_ENGINE_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define PERCEPT_ENGINE_EXPORT __attribute__((visibility("default")))
#endif

enum percept_dtype {
  PERCEPT_FLOAT32 = 1,
  PERCEPT_FLOAT16 = 2,
  PERCEPT_INT64 = 3,
  PERCEPT_INT32 = 4,
  PERCEPT_INT8 = 5,
  PERCEPT_UINT8 = 6,
  PERCEPT_BOOL = 7
};

enum percept_status {
  PERCEPT_OK = 0,
  PERCEPT_LATE = 1,      /* stopped because budget_ns was spent; outputs are not valid */
  PERCEPT_BAD_INPUT = 2, /* shapes do not fit together; see error() */
  PERCEPT_FAILED = 3     /* see error() */
};

/* One input or output. A dimension of -1 is dynamic. */
typedef struct percept_tensor_spec {
  char name[PERCEPT_NAME_BYTES];
  int32_t dtype;
  int32_t rank;
  int64_t shape[PERCEPT_MAX_RANK];
} percept_tensor_spec;

/* One tensor of a call. */
typedef struct percept_tensor {
  void *data;
  int64_t capacity_bytes;
  int32_t dtype;
  int32_t rank;
  int64_t shape[PERCEPT_MAX_RANK];
} percept_tensor;

typedef struct percept_engine {
  uint32_t abi;        /* PERCEPT_ENGINE_ABI */
  uint32_t size_bytes; /* sizeof(percept_engine) */
  void *state;         /* the engine's own */
  int32_t input_count;
  int32_t output_count;
  const percept_tensor_spec *inputs;
  const percept_tensor_spec *outputs;
  /* Fills the shapes of `outputs` for these inputs (an upper bound where the data decide). NULL when all outputs are static. */
  int32_t (*output_shapes)(struct percept_engine *, const percept_tensor *inputs, percept_tensor *outputs);
  /* Runs once. May lower a dimension 0 of an output below the bound. budget_ns > 0: stop with PERCEPT_LATE when spent. */
  int32_t (*run)(struct percept_engine *, const percept_tensor *inputs, percept_tensor *outputs, int64_t budget_ns);
  /* Text of the last error; valid until the next call. */
  const char *(*error)(const struct percept_engine *);
  /* Frees everything, the engine itself included. */
  void (*destroy)(struct percept_engine *);
} percept_engine;

/* What a shared object exports:
 *   int32_t percept_engine_abi(void);                                  returns PERCEPT_ENGINE_ABI
 *   percept_engine *create_engine(const char *folder, char *error, int64_t error_bytes);
 *       folder: the model's folder, for weights. Returns NULL and writes `error` when the engine cannot be made. */

#endif
