/* The ranges of quantised types. */
#ifndef LT_QUANT_TYPES_H
#define LT_QUANT_TYPES_H

#include <math.h>
#include <stdbool.h>

#include "luthier/lt_ops.h"

static inline bool lt_is_byte(int64_t type) { return type == LT_U8 || type == LT_I8; }

/* The least and the largest value of LT_U8, LT_I8, LT_U16 or LT_I16. */
static inline int64_t lt_type_min(int64_t type) { return type == LT_I8 ? INT8_MIN : type == LT_I16 ? INT16_MIN : 0; }
static inline int64_t lt_type_max(int64_t type) {
  switch (type) {
    case LT_I8: return INT8_MAX;
    case LT_U8: return UINT8_MAX;
    case LT_I16: return INT16_MAX;
    default: return UINT16_MAX;
  }
}

static inline bool lt_in_type(int64_t value, int64_t type) {
  return value >= lt_type_min(type) && value <= lt_type_max(type);
}

/* Whether low <= high are bounds of values of the type. */
static inline bool lt_is_range(int64_t low, int64_t high, int64_t type) {
  return low <= high && lt_in_type(low, type) && lt_in_type(high, type);
}

static inline bool lt_is_scale(double scale) { return isfinite((float)scale) && (float)scale > 0.0f; }

#endif
