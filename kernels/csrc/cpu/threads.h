/* A pool of worker threads that is shared by the process. */
#ifndef LT_THREADS_H
#define LT_THREADS_H

#include <stdint.h>

#define LT_MAX_THREADS 256

/* One unit of work. `index` is in [0, count); `thread` in [0, threads) names the scratch that may be used. */
typedef void (*lt_task_fn)(void *context, int64_t index, int thread);

/* Call fn(context, i, t) for every i in [0, count), on at most `threads` threads, the caller among them, and return
 * when all are done. Indices are claimed in order. With one thread, one task, or a pool that another caller is using at
 * this moment, everything runs on the caller. Never fails: threads that cannot be started are done without. */
void lt_parallel_for(int64_t threads, int64_t count, lt_task_fn fn, void *context);

#endif
