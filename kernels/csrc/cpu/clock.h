/* Timing calls in C, so that Python does not count. */
#ifndef LT_CLOCK_H
#define LT_CLOCK_H

#include <stdint.h>

#include "luthier/lt_ops.h"

/* Monotonic time in seconds. */
double lt_now(void);

/* Seconds per call of `inner` calls that walk round `count` argument structs; *status collects their statuses. */
double lt_time_calls(lt_run_fn run, const void *const *args, int64_t count, int64_t inner, int *status);

/* Seconds per empty parallel region of `threads` tasks. */
double lt_time_regions(int64_t threads, int64_t repeats);

#endif
