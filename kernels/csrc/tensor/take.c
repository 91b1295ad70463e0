/* Gather along one dimension: whole runs of consecutive indices are copied at once. */
#include <string.h>

#include "cpu/split.h"
#include "tensor/bits.h"

static const char *source(const lt_take_args *a, int64_t o, int64_t index) {
  return (const char *)a->x + (o * a->x_count + index) * a->inner * a->size;
}

/* How many indices of [0, n) continue what the first one begins: the same negative fill, or neighbouring rows. */
static int64_t run_length(const int64_t *index, int64_t n) {
  int64_t k = 1;
  if (index[0] < 0)
    while (k < n && index[k] < 0) k++;
  else
    while (k < n && index[k] == index[0] + k) k++;
  return k;
}

LT_BITS_INLINE void fill_run(void *y, int64_t n, int64_t size, uint64_t bits) {
  for (int64_t i = 0; i < n; i++) lt_store_bits(y, i, size, bits);
}

LT_BITS_INLINE void take_units(const lt_take_args *a, int64_t begin, int64_t end, int64_t size) {
  const int64_t *index = a->index;
  char *y = (char *)a->y + begin * a->inner * size;
  while (begin < end) {
    const int64_t o = begin / a->y_count, first = begin % a->y_count;
    const int64_t left = a->y_count - first < end - begin ? a->y_count - first : end - begin;
    for (int64_t i = first, run; i < first + left; i += run, y += run * a->inner * size) {
      run = run_length(index + i, first + left - i);
      if (index[i] < 0)
        fill_run(y, run * a->inner, size, (uint64_t)a->fill);
      else if (run * a->inner == 1)
        lt_store_bits(y, 0, size, lt_load_bits(source(a, o, index[i]), 0, size));
      else
        memcpy(y, source(a, o, index[i]), (size_t)(run * a->inner * size));
    }
    begin += left;
  }
}

static void take_part(void *context, int64_t begin, int64_t end) {
  const lt_take_args *a = context;
  switch (a->size) {
    case 1: take_units(a, begin, end, 1); break;
    case 2: take_units(a, begin, end, 2); break;
    case 4: take_units(a, begin, end, 4); break;
    case 8: take_units(a, begin, end, 8); break;
  }
}

int64_t lt_take_work(const void *args) {
  (void)args;
  return 0;
}

int lt_take_run(const void *args) {
  const lt_take_args *a = args;
  const int64_t in_dims[] = {a->outer, a->x_count, a->inner, a->size};
  const int64_t out_dims[] = {a->outer, a->y_count, a->inner, a->size};
  const int64_t in_bytes = lt_product(in_dims, 4), out_bytes = lt_product(out_dims, 4);
  if (!lt_is_element_size(a->size) || in_bytes < 0 || out_bytes < 0) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (out_bytes == 0) return LT_OK;
  if (!a->index || !a->y || (in_bytes && !a->x)) return LT_BAD_ARGUMENT;
  for (int64_t i = 0; i < a->y_count; i++)
    if (((const int64_t *)a->index)[i] >= a->x_count) return LT_BAD_ARGUMENT;
  lt_split(a->threads, a->outer * a->y_count, a->inner, take_part, (void *)args);
  return LT_OK;
}
