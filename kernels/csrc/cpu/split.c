#include "cpu/split.h"

#include "cpu/threads.h"

/* A thread is worth waking for this many elements. */
#define LT_GRAIN 16384

int64_t lt_product(const int64_t *dims, int n) {
  int64_t product = 1;
  for (int i = 0; i < n; i++)
    if (dims[i] < 0 || dims[i] > LT_MAX_ELEMENTS) return -1;
  for (int i = 0; i < n; i++)
    if (dims[i] == 0) return 0;
  for (int i = 0; i < n; i++)
    if (__builtin_mul_overflow(product, dims[i], &product) || product > LT_MAX_ELEMENTS) return -1;
  return product;
}

typedef struct {
  lt_part_fn *fn;
  void *context;
  int64_t count, shares;
} share_job;

static int64_t share_begin(const share_job *job, int64_t i) {
  int64_t rest = job->count % job->shares;
  return job->count / job->shares * i + (i < rest ? i : rest);
}

static void run_share(void *context, int64_t index, int thread) {
  const share_job *job = context;
  (void)thread;
  job->fn(job->context, share_begin(job, index), share_begin(job, index + 1));
}

void lt_split(int64_t threads, int64_t count, int64_t cost, lt_part_fn *fn, void *context) {
  if (count <= 0) return;
  double worth = (double)count * (double)cost / LT_GRAIN;
  int64_t shares = threads < LT_MAX_THREADS ? threads : LT_MAX_THREADS;
  if (shares > count) shares = count;
  if ((double)shares > worth) shares = (int64_t)worth;
  if (shares <= 1) {
    fn(context, 0, count);
    return;
  }
  share_job job = {fn, context, count, shares};
  lt_parallel_for(shares, shares, run_share, &job);
}
