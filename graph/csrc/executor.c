#define _POSIX_C_SOURCE 200809L
#include "executor.h"

#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void lt_relocate(const lt_relocation *relocations, int64_t count, void *args, int64_t buffer, const void *base) {
  for (int64_t i = 0; i < count; i++)
    if (relocations[i].buffer == buffer)
      ((int64_t *)args)[relocations[i].slot] = (int64_t)((uintptr_t)base + (uintptr_t)relocations[i].offset);
}

int64_t lt_run_steps(const lt_step *steps, int64_t first, int64_t end, const char *args, double *times, int *status) {
  double before = times ? now() : 0.0;
  for (int64_t i = first; i < end; i++) {
    *status = steps[i].run(args + steps[i].args);
    if (*status) return i;
    if (times) {
      const double after = now();
      times[i] += after - before;
      before = after;
    }
  }
  return -1;
}
