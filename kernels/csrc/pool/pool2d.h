/* What the driver of POOL2D shares with its bodies. */
#ifndef LT_POOL2D_H
#define LT_POOL2D_H

#include "cpu/split.h"

enum { LT_POOL_MAX, LT_POOL_AVERAGE, LT_POOL_AVERAGE_PADDED, LT_POOL_COUNT };

/* The taps [first, last) of a window along one axis. */
typedef struct {
  int64_t first, last;
} lt_taps;

/* Those of `taps` taps, `step` apart, that lie inside [0, limit) if the window starts at `start`. */
static inline lt_taps lt_pool_taps(int64_t start, int64_t taps, int64_t step, int64_t limit) {
  lt_taps t = {0, taps};
  if (start >= 0 && start + (taps - 1) * step < limit) return t;
  const int64_t inside = limit > start ? (limit - start + step - 1) / step : 0;
  if (start < 0) t.first = (-start + step - 1) / step;
  if (t.last > inside) t.last = inside;
  if (t.first > t.last) t.first = t.last;
  return t;
}

#endif
