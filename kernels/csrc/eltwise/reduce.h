/* How REDUCE over an outer dimension is divided. */
#ifndef LT_REDUCE_H
#define LT_REDUCE_H

#include "cpu/split.h"

/* Neighbouring columns that are reduced together: a strip. */
#define LT_REDUCE_STRIP 64

static inline int64_t lt_reduce_strips(int64_t inner) { return (inner + LT_REDUCE_STRIP - 1) / LT_REDUCE_STRIP; }

#endif
