#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* A region is published by a new epoch in `state`, with the number of free seats in its lowest bits. A worker joins by
 * taking a seat, whose number is its thread number; the caller works too, takes the seats that are left away when no
 * index is, and waits only for the workers that joined: one that the system has not scheduled yet never delays it. */
#define SEATS UINT64_C(0xffff)
#define EPOCH UINT64_C(0x10000)

/* How long a waiting thread spins before it yields or sleeps: about 50 microseconds. */
#define SPINS 1000

static struct {
  _Alignas(64) _Atomic uint64_t state;
  _Alignas(64) _Atomic int64_t next; /* the next index to claim */
  _Alignas(64) _Atomic int64_t left; /* workers that have finished the region */
  _Alignas(64) _Atomic int busy;     /* a caller owns the pool: it alone writes what follows */
  _Atomic int sleepers;
  int64_t workers;
  /* The region. Workers read it only from a seat, and the caller waits for all of those. */
  lt_task_fn fn;
  void *context;
  int64_t count;
  pthread_mutex_t lock;
  pthread_cond_t wake;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void work(lt_task_fn fn, void *context, int64_t count, int thread) {
  for (;;) {
    int64_t i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed);
    if (i >= count) return;
    fn(context, i, thread);
  }
}

/* Wait for a state other than `seen`. */
static uint64_t wait_for_region(uint64_t seen) {
  for (int i = 0; i < SPINS; i++) {
    uint64_t now = atomic_load_explicit(&pool.state, memory_order_acquire);
    if (now != seen) return now;
    relax();
  }
  pthread_mutex_lock(&pool.lock);
  atomic_fetch_add(&pool.sleepers, 1);
  uint64_t now;
  while ((now = atomic_load(&pool.state)) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
  atomic_fetch_sub(&pool.sleepers, 1);
  pthread_mutex_unlock(&pool.lock);
  return now;
}

static void *worker(void *unused) {
  (void)unused;
  uint64_t seen = 0;
  for (;;) {
    uint64_t now = wait_for_region(seen);
    if ((now & SEATS) && atomic_compare_exchange_strong(&pool.state, &now, now - 1)) {
      work(pool.fn, pool.context, pool.count, (int)(now & SEATS));
      atomic_fetch_add_explicit(&pool.left, 1, memory_order_release);
      seen = now - 1;
    } else if (!(now & SEATS)) {
      seen = now;
    }
  }
  return 0;
}

/* The child has none of the workers, and whatever another thread was doing in the pool has ended with it. */
static void reset_in_child(void) {
  pool.workers = 0;
  atomic_store(&pool.state, 0);
  atomic_store(&pool.busy, 0);
  atomic_store(&pool.sleepers, 0);
  pthread_mutex_init(&pool.lock, 0);
  pthread_cond_init(&pool.wake, 0);
}

__attribute__((constructor)) static void register_fork_handler(void) { pthread_atfork(0, 0, reset_in_child); }

static void start_workers(int64_t wanted) {
  while (pool.workers < wanted) {
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attr, worker, 0);
    pthread_attr_destroy(&attr);
    if (failed) return;
    pool.workers++;
  }
}

void lt_parallel_for(int64_t threads, int64_t count, lt_task_fn fn, void *context) {
  if (threads > LT_MAX_THREADS) threads = LT_MAX_THREADS;
  if (threads > count) threads = count;
  int idle = 0;
  if (threads <= 1 || !atomic_compare_exchange_strong(&pool.busy, &idle, 1)) {
    for (int64_t i = 0; i < count; i++) fn(context, i, 0);
    return;
  }
  start_workers(threads - 1);
  pool.fn = fn;
  pool.context = context;
  pool.count = count;
  atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
  atomic_store_explicit(&pool.left, 0, memory_order_relaxed);
  const uint64_t seats = (uint64_t)(threads - 1);
  atomic_store(&pool.state, ((atomic_load(&pool.state) & ~SEATS) + EPOCH) | seats);
  if (atomic_load(&pool.sleepers) > 0) {
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
  }
  work(fn, context, count, 0);
  const int64_t joined = (int64_t)(seats - (atomic_fetch_and(&pool.state, ~SEATS) & SEATS));
  int spins = 0;
  while (atomic_load_explicit(&pool.left, memory_order_acquire) < joined) {
    if (spins < SPINS) {
      spins++;
      relax();
    } else {
      sched_yield();
    }
  }
  atomic_store(&pool.busy, 0);
}
