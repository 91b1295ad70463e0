/* Gather along one dimension with indices that are only known when it runs: all are checked before anything is written.
 */
#include <string.h>

#include "cpu/split.h"
#include "tensor/bits.h"

/* The i-th index, negative ones counted from the end; x_count or more, or less than 0, if it is out of range. */
LT_BITS_INLINE int64_t row_of(const lt_gather_args *a, int64_t i) {
  const int64_t index = a->index_size == 4 ? ((const int32_t *)a->index)[i] : ((const int64_t *)a->index)[i];
  return index < 0 ? index + a->x_count : index;
}

/* `bytes` of a row: a constant where it is that of one element. */
LT_BITS_INLINE void gather_rows(const lt_gather_args *a, int64_t begin, int64_t end, int64_t bytes) {
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t row = unit / a->y_count * a->x_count + row_of(a, unit % a->y_count);
    memcpy((char *)a->y + unit * bytes, (const char *)a->x + row * bytes, (size_t)bytes);
  }
}

static void gather_part(void *context, int64_t begin, int64_t end) {
  const lt_gather_args *a = context;
  const int64_t bytes = a->inner * a->size;
  switch (bytes) {
    case 1: gather_rows(a, begin, end, 1); break;
    case 2: gather_rows(a, begin, end, 2); break;
    case 4: gather_rows(a, begin, end, 4); break;
    case 8: gather_rows(a, begin, end, 8); break;
    default: gather_rows(a, begin, end, bytes);
  }
}

int64_t lt_gather_work(const void *args) {
  (void)args;
  return 0;
}

int lt_gather_run(const void *args) {
  const lt_gather_args *a = args;
  if (!lt_is_element_size(a->size) || (a->index_size != 4 && a->index_size != 8)) return LT_BAD_ARGUMENT;
  if (!LT_FITS(a->outer, a->x_count, a->inner, a->size) || !LT_FITS(a->outer, a->y_count, a->inner, a->size))
    return LT_BAD_ARGUMENT;
  if (a->y_count && !a->index) return LT_BAD_ARGUMENT;
  for (int64_t i = 0; i < a->y_count; i++) {
    const int64_t row = row_of(a, i);
    if (row < 0 || row >= a->x_count) return LT_BAD_INDEX;
  }
  if (a->outer * a->y_count * a->inner == 0) return LT_OK;
  if (!a->x || !a->y) return LT_BAD_ARGUMENT;
  lt_split(a->threads, a->outer * a->y_count, a->inner, gather_part, (void *)args);
  return LT_OK;
}
