// The few entry points of ONNX Runtime's stable C interface that a custom operator calls, by their place in the table that the
// run-time hands over. Places of version 1 never change; the operator's layout is that of version 16.
#pragma once
#include <cstddef>
#include <cstdint>

namespace ort {

using Status = void;  // nullptr = done
enum Type : int32_t { kFloat = 1, kInt8 = 3, kInt32 = 6 };
enum Code : int32_t { kFail = 1, kInvalidArgument = 2 };

struct Api {
  void *entry[102];  // version 1 has 102 entries
};
struct ApiBase {
  const Api *(*get_api)(uint32_t version);
  const char *(*get_version)();
};

template <class Function> Function at(const Api *api, int place) { return reinterpret_cast<Function>(api->entry[place]); }

inline Status *create_status(const Api *api, Code code, const char *text) {
  return at<Status *(*)(Code, const char *)>(api, 0)(code, text);
}
inline Status *create_domain(const Api *api, const char *name, void **domain) {
  return at<Status *(*)(const char *, void **)>(api, 26)(name, domain);
}
inline Status *add_operator(const Api *api, void *domain, const void *op) {
  return at<Status *(*)(void *, const void *)>(api, 27)(domain, op);
}
inline Status *add_domain(const Api *api, void *session_options, void *domain) {
  return at<Status *(*)(void *, void *)>(api, 28)(session_options, domain);
}
inline Status *data_of(const Api *api, void *value, void **data) {
  return at<Status *(*)(void *, void **)>(api, 51)(value, data);
}
inline Status *rank_of(const Api *api, const void *info, size_t *rank) {
  return at<Status *(*)(const void *, size_t *)>(api, 61)(info, rank);
}
inline Status *dimensions_of(const Api *api, const void *info, int64_t *sizes, size_t rank) {
  return at<Status *(*)(const void *, int64_t *, size_t)>(api, 62)(info, sizes, rank);
}
inline Status *info_of(const Api *api, const void *value, void **info) {
  return at<Status *(*)(const void *, void **)>(api, 65)(value, info);
}
inline Status *attribute(const Api *api, const void *info, const char *name, float *value) {
  return at<Status *(*)(const void *, const char *, float *)>(api, 85)(info, name, value);
}
inline Status *attribute(const Api *api, const void *info, const char *name, int64_t *value) {
  return at<Status *(*)(const void *, const char *, int64_t *)>(api, 86)(info, name, value);
}
inline Status *input_of(const Api *api, const void *context, size_t index, const void **value) {
  return at<Status *(*)(const void *, size_t, const void **)>(api, 90)(context, index, value);
}
inline Status *output_of(const Api *api, void *context, size_t index, const int64_t *sizes, size_t rank, void **value) {
  return at<Status *(*)(void *, size_t, const int64_t *, size_t, void **)>(api, 91)(context, index, sizes, rank, value);
}
inline void release_info(const Api *api, void *info) { at<void (*)(void *)>(api, 99)(info); }

// An operator, version 16: optional members that are null are not asked.
struct Operator {
  uint32_t version;
  void *(*create_kernel)(const Operator *, const Api *, const void *info);
  const char *(*name)(const Operator *);
  const char *(*provider)(const Operator *);
  Type (*input_type)(const Operator *, size_t);
  size_t (*input_count)(const Operator *);
  Type (*output_type)(const Operator *, size_t);
  size_t (*output_count)(const Operator *);
  void (*compute)(void *kernel, void *context);
  void (*destroy)(void *kernel);
  int32_t (*input_characteristic)(const Operator *, size_t);
  int32_t (*output_characteristic)(const Operator *, size_t);
  int32_t (*input_memory)(const Operator *, size_t);
  int (*variadic_input_minimum)(const Operator *);
  int (*variadic_input_homogeneous)(const Operator *);
  int (*variadic_output_minimum)(const Operator *);
  int (*variadic_output_homogeneous)(const Operator *);
  Status *(*create_kernel_v2)(const Operator *, const Api *, const void *info, void **kernel);
  Status *(*compute_v2)(void *kernel, void *context);
};

}  // namespace ort
