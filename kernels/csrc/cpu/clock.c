#define _POSIX_C_SOURCE 200809L
#include "clock.h"

#include <time.h>

#include "threads.h"

double lt_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double lt_time_calls(lt_run_fn run, const void *const *args, int64_t count, int64_t inner, int *status) {
  const double begin = lt_now();
  for (int64_t i = 0; i < inner; i++) *status |= run(args[i % count]);
  return (lt_now() - begin) / (double)inner;
}

static void nothing(void *context, int64_t index, int thread) {
  (void)context;
  (void)index;
  (void)thread;
}

double lt_time_regions(int64_t threads, int64_t repeats) {
  const double begin = lt_now();
  for (int64_t i = 0; i < repeats; i++) lt_parallel_for(threads, threads, nothing, 0);
  return (lt_now() - begin) / (double)repeats;
}
