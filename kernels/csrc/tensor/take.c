/* Gather along one dimension: whole runs of consecutive indices are copied at once, or single elements one by one. */
#include <string.h>

#include "cpu/split.h"
#include "tensor/bits.h"

/* Runs of single elements that are shorter on average are not worth looking for. */
#define SHORT_RUN 4

typedef struct {
  const lt_take_args *args;
  int64_t y_step;
  bool one_by_one;
} take_job;

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

LT_BITS_INLINE void take_runs(const lt_take_args *a, int64_t o, const int64_t *index, int64_t n, char *y,
                              int64_t size) {
  for (int64_t i = 0, run; i < n; i += run, y += run * a->inner * size) {
    run = run_length(index + i, n - i);
    if (index[i] < 0)
      fill_run(y, run * a->inner, size, (uint64_t)a->fill);
    else
      memcpy(y, source(a, o, index[i]), (size_t)(run * a->inner * size));
  }
}

LT_BITS_INLINE void take_elements(const lt_take_args *a, int64_t o, const int64_t *index, int64_t n, char *y,
                                  int64_t size) {
  const char *x = source(a, o, 0);
  for (int64_t i = 0; i < n; i++)
    lt_store_bits(y, i, size, index[i] < 0 ? (uint64_t)a->fill : lt_load_bits(x, index[i], size));
}

LT_BITS_INLINE void take_units(const take_job *job, int64_t begin, int64_t end, int64_t size) {
  const lt_take_args *a = job->args;
  int64_t first = begin % a->y_count;
  for (int64_t o = begin / a->y_count; begin < end; o++, first = 0) {
    const int64_t n = a->y_count - first < end - begin ? a->y_count - first : end - begin;
    const int64_t *index = (const int64_t *)a->index + first;
    char *y = (char *)a->y + (o * job->y_step + first * a->inner) * size;
    if (job->one_by_one)
      take_elements(a, o, index, n, y, size);
    else
      take_runs(a, o, index, n, y, size);
    begin += n;
  }
}

static void take_part(void *context, int64_t begin, int64_t end) {
  const take_job *job = context;
  switch (job->args->size) {
    case 1: take_units(job, begin, end, 1); break;
    case 2: take_units(job, begin, end, 2); break;
    case 4: take_units(job, begin, end, 4); break;
    case 8: take_units(job, begin, end, 8); break;
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
  if (a->y_step && (a->y_step < a->y_count * a->inner || !LT_FITS(a->outer, a->y_step, a->size)))
    return LT_BAD_ARGUMENT;
  const int64_t *index = a->index;
  int64_t runs = 1;
  for (int64_t i = 0; i < a->y_count; i++) {
    if (index[i] >= a->x_count) return LT_BAD_ARGUMENT;
    runs += i > 0 && index[i] != index[i - 1] + 1;
  }
  take_job job = {a, a->y_step ? a->y_step : a->y_count * a->inner, a->inner == 1 && runs * SHORT_RUN > a->y_count};
  lt_split(a->threads, a->outer * a->y_count, a->inner, take_part, &job);
  return LT_OK;
}
