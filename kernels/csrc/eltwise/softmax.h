/* How SOFTMAX over an inner dimension is divided. */
#ifndef LT_SOFTMAX_H
#define LT_SOFTMAX_H

#include "cpu/split.h"

/* Neighbouring columns that are computed together: a strip. */
#define LT_SOFTMAX_STRIP 64

static inline int64_t lt_softmax_strips(int64_t inner) { return (inner + LT_SOFTMAX_STRIP - 1) / LT_SOFTMAX_STRIP; }

#endif
