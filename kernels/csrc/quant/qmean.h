/* How QMEAN is shared out: a unit is a block of the inner axis. */
#ifndef LT_QMEAN_H
#define LT_QMEAN_H

#include "cpu/split.h"

#define LT_QMEAN_BLOCK 64

static inline int64_t lt_qmean_blocks(const lt_qmean_args *a) {
  return (a->inner + LT_QMEAN_BLOCK - 1) / LT_QMEAN_BLOCK;
}

#endif
