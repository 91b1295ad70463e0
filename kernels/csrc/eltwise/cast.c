/* Conversions between element types, with the results of NumPy on x86-64: integers wrap; a float is truncated to int32
 * (to int64 where that is asked for) and then wraps; NaN and what does not fit become the smallest of that integer
 * type. */
#include <stdbool.h>

#include "cpu/split.h"
#include "eltwise/half.h"

typedef void widen_fn(const uint16_t *x, float *y, int64_t n);
typedef void narrow_fn(const float *x, uint16_t *y, int64_t n);
extern widen_fn lt_half_widen_scalar, lt_half_widen_avx2, lt_half_widen_avx512, lt_half_widen_neon;
extern narrow_fn lt_half_narrow_scalar, lt_half_narrow_avx2, lt_half_narrow_avx512, lt_half_narrow_neon;
static widen_fn *const widen[LT_ISA_COUNT] = LT_ISA_TABLE(lt_half_widen);
static narrow_fn *const narrow[LT_ISA_COUNT] = LT_ISA_TABLE(lt_half_narrow);

/* Halves pass through a buffer of floats, this many at a time. */
#define BLOCK 512

#define INLINE static inline __attribute__((always_inline))

static const int64_t type_size[LT_DTYPE_COUNT] = {
    [LT_F32] = 4, [LT_F16] = 2, [LT_F64] = 8, [LT_I8] = 1,  [LT_U8] = 1,
    [LT_I16] = 2, [LT_U16] = 2, [LT_I32] = 4, [LT_I64] = 8, [LT_BOOL] = 1,
};

INLINE int32_t truncate_i32(double v) {
  const bool fits = v > -0x1p31 - 1 && v < 0x1p31;
  const int32_t value = (int32_t)(fits ? v : 0.0);
  return fits ? value : INT32_MIN;
}

INLINE int64_t truncate_i64(double v) { return v >= -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN; }

/* An element of a type with at most 32 bits. */
INLINE int32_t load_i32(const void *x, int64_t i, int64_t type) {
  switch (type) {
    case LT_I8: return ((const int8_t *)x)[i];
    case LT_U8: return ((const uint8_t *)x)[i];
    case LT_I16: return ((const int16_t *)x)[i];
    case LT_U16: return ((const uint16_t *)x)[i];
    case LT_BOOL: return ((const uint8_t *)x)[i] != 0;
    default: return ((const int32_t *)x)[i];
  }
}

INLINE void store_i32(void *y, int64_t i, int64_t type, int32_t v) {
  switch (type) {
    case LT_F32: ((float *)y)[i] = (float)v; break;
    case LT_F64: ((double *)y)[i] = v; break;
    case LT_I64: ((int64_t *)y)[i] = v; break;
    case LT_BOOL: ((uint8_t *)y)[i] = v != 0; break;
    case LT_I8:
    case LT_U8: ((uint8_t *)y)[i] = (uint8_t)v; break;
    case LT_I16:
    case LT_U16: ((uint16_t *)y)[i] = (uint16_t)v; break;
    default: ((int32_t *)y)[i] = v;
  }
}

INLINE void store_i64(void *y, int64_t i, int64_t type, int64_t v) {
  switch (type) {
    case LT_F32: ((float *)y)[i] = (float)v; break;
    case LT_F64: ((double *)y)[i] = (double)v; break;
    case LT_I64: ((int64_t *)y)[i] = v; break;
    case LT_BOOL: ((uint8_t *)y)[i] = v != 0; break;
    default: store_i32(y, i, type, (int32_t)v);
  }
}

INLINE void store_f64(void *y, int64_t i, int64_t type, double v) {
  switch (type) {
    case LT_F32: ((float *)y)[i] = (float)v; break;
    case LT_F64: ((double *)y)[i] = v; break;
    case LT_I64: ((int64_t *)y)[i] = truncate_i64(v); break;
    case LT_BOOL: ((uint8_t *)y)[i] = v != 0; break;
    default: store_i32(y, i, type, truncate_i32(v));
  }
}

/* `from` and `to` are constants wherever this is inlined; neither is LT_F16. */
INLINE void convert_run(const void *restrict x, void *restrict y, int64_t n, int64_t from, int64_t to) {
  if (from == LT_F32)
    for (int64_t i = 0; i < n; i++) store_f64(y, i, to, ((const float *)x)[i]);
  else if (from == LT_F64)
    for (int64_t i = 0; i < n; i++) store_f64(y, i, to, ((const double *)x)[i]);
  else if (from == LT_I64)
    for (int64_t i = 0; i < n; i++) store_i64(y, i, to, ((const int64_t *)x)[i]);
  else
    for (int64_t i = 0; i < n; i++) store_i32(y, i, to, load_i32(x, i, from));
}

/* The types with a form of their own. */
#define TYPES(X) X(LT_F32) X(LT_F64) X(LT_I8) X(LT_U8) X(LT_I16) X(LT_U16) X(LT_I32) X(LT_I64) X(LT_BOOL)

INLINE void convert_from(const void *x, void *y, int64_t n, int64_t from, int64_t to) {
  switch (to) {
#define CASE(type) \
  case type: convert_run(x, y, n, from, type); break;
    TYPES(CASE)
#undef CASE
  }
}

static void convert(const void *x, void *y, int64_t n, int64_t from, int64_t to) {
  switch (from) {
#define CASE(type) \
  case type: convert_from(x, y, n, type, to); break;
    TYPES(CASE)
#undef CASE
  }
}

static void cast_part(void *context, int64_t begin, int64_t end) {
  const lt_cast_args *a = context;
  const char *x = (const char *)a->x + begin * type_size[a->from];
  char *y = (char *)a->y + begin * type_size[a->to];
  if (a->from == a->to && a->from != LT_BOOL) {
    memmove(y, x, (size_t)((end - begin) * type_size[a->from]));
    return;
  }
  if (a->from != LT_F16 && a->to != LT_F16) {
    convert(x, y, end - begin, a->from, a->to);
    return;
  }
  float block[BLOCK];
  for (int64_t i = begin; i < end; i += BLOCK) {
    const int64_t n = end - i < BLOCK ? end - i : BLOCK;
    if (a->from == LT_F16) {
      widen[a->isa]((const uint16_t *)x, block, n);
      convert(block, y, n, LT_F32, a->to);
    } else {
      if (a->from == LT_F64)
        for (int64_t k = 0; k < n; k++) block[k] = lt_double_to_odd_float(((const double *)x)[k]);
      else
        convert(x, block, n, a->from, LT_F32);
      narrow[a->isa](block, (uint16_t *)y, n);
    }
    x += n * type_size[a->from];
    y += n * type_size[a->to];
  }
}

int64_t lt_cast_work(const void *args) {
  (void)args;
  return 0;
}

int lt_cast_run(const void *args) {
  const lt_cast_args *a = args;
  if (a->n < 0 || a->n > LT_MAX_ELEMENTS || (a->n && !(a->x && a->y))) return LT_BAD_ARGUMENT;
  if (a->from < 0 || a->from >= LT_DTYPE_COUNT || a->to < 0 || a->to >= LT_DTYPE_COUNT) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  lt_split(a->threads, a->n, 1, cast_part, (void *)args);
  return LT_OK;
}
