/* A chain of convolutions and pools over NHWC maps, computed band by band: every stage makes the few rows that the next
 * one needs now, into a buffer that stays in the cache. Rows that the next band needs again are kept, not recomputed.
 *
 * A thread takes a strip of the last stage's rows through the whole chain, so that rows are computed twice only where
 * two strips meet, and threads meet once a chain. */
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "../cpu/cpu.h"
#include "../cpu/num.h"
#include "../cpu/split.h"
#include "../cpu/threads.h"
#include "luthier/lt_ops.h"

#define MAX_STAGES 16
#define MAX_SLOTS 64

enum { X, Y, WORK, RESIDUAL, N, IH, IW, IC, OH, OW, OC, KH, SH, PT, DH, LDX, LDY, LDR, FIELDS };

/* An operator that can be a stage: where its fields are among its slots. */
typedef struct {
  lt_run_fn run;
  lt_work_fn work;
  int64_t slots;
  uint8_t at[FIELDS];
} stage_kind;

#define AT(op, field) offsetof(lt_##op##_args, field) / sizeof(int64_t)
#define KIND(op, ic, oc)                                                                                               \
  {                                                                                                                    \
    lt_##op##_run, lt_##op##_work, sizeof(lt_##op##_args) / sizeof(int64_t), {                                         \
      AT(op, x), AT(op, y), AT(op, work), AT(op, residual), AT(op, n), AT(op, ih), AT(op, iw), AT(op, ic), AT(op, oh), \
          AT(op, ow), AT(op, oc), AT(op, kh), AT(op, sh), AT(op, pt), AT(op, dh), AT(op, ldx), AT(op, ldy),            \
          AT(op, ldr)                                                                                                  \
    }                                                                                                                  \
  }

static const stage_kind kinds[LT_STAGE_COUNT] = {
    [LT_STAGE_CONV2D] = KIND(conv2d, ic, oc),
    [LT_STAGE_DEPTHWISE_CONV2D] = KIND(depthwise_conv2d, c, c),
};

_Static_assert(sizeof(lt_conv2d_args) <= MAX_SLOTS * sizeof(int64_t), "slots of a stage");
_Static_assert(sizeof(lt_depthwise_conv2d_args) <= MAX_SLOTS * sizeof(int64_t), "slots of a stage");

typedef struct {
  const stage_kind *kind;
  const int64_t *args;       /* of the whole map */
  int64_t f[FIELDS];         /* its fields by name */
  int64_t span;              /* rows of a window */
  int64_t in_line, out_line; /* bytes of a row */
  int64_t rows, buffer;      /* of the output: most rows of a band, and where they are in a thread's room */
} chain_stage;

typedef struct {
  const lt_chain_args *c;
  chain_stage stages[MAX_STAGES];
  int64_t last;          /* index of the last stage */
  int64_t scratch, room; /* bytes of a thread: where the stages' own scratch is, and the whole */
  int64_t strips;        /* of an image */
  _Atomic int status;
} chain_job;

typedef struct {
  int64_t first, end;
} row_range;

/* Rows of its input that a stage reads for these rows of its output. */
static row_range rows_read(const chain_stage *s, row_range out) {
  const int64_t *f = s->f;
  return (row_range){max64(0, out.first * f[SH] - f[PT]), min64(f[IH], (out.end - 1) * f[SH] - f[PT] + s->span)};
}

static int64_t line_up(int64_t bytes) { return round_up(bytes, 64); }

/* The stage's own scratch for calls of at most `rows` rows. */
static int64_t scratch_of(const chain_stage *s, int64_t n, int64_t rows) {
  int64_t args[MAX_SLOTS];
  const uint8_t *at = s->kind->at;
  memcpy(args, s->args, (size_t)s->kind->slots * sizeof *args);
  args[at[N]] = n;
  args[at[OH]] = rows;
  args[at[IH]] = min64(s->f[IH], (rows - 1) * s->f[SH] + s->span);
  return s->kind->work(args);
}

static int read_stage(chain_stage *s, const int64_t *words) {
  if (words[0] < 0 || words[0] >= LT_STAGE_COUNT) return LT_BAD_ARGUMENT;
  s->kind = &kinds[words[0]];
  s->args = words + 1;
  int64_t *f = s->f;
  for (int i = 0; i < FIELDS; i++) f[i] = s->args[s->kind->at[i]];
  for (int i = N; i < FIELDS; i++)
    if (f[i] < (i == PT || i == LDR ? 0 : 1) || f[i] > INT32_MAX) return LT_BAD_ARGUMENT;
  if (f[LDX] < f[IC] || f[LDY] < f[OC] || !LT_FITS(f[N], f[IH], f[IW], f[LDX]) ||
      !LT_FITS(f[N], f[OH], f[OW], f[LDY]) || !LT_FITS(f[N], f[OH], f[OW], f[LDR]) || !LT_FITS(f[KH], f[DH]) ||
      !LT_FITS(f[OH], f[SH]))
    return LT_BAD_ARGUMENT;
  s->span = (f[KH] - 1) * f[DH] + 1;
  s->in_line = f[IW] * f[LDX] * (int64_t)sizeof(float);
  s->out_line = f[OW] * f[LDY] * (int64_t)sizeof(float);
  /* Every window has a row inside the image. */
  return f[PT] < s->span && (f[OH] - 1) * f[SH] - f[PT] < f[IH] ? LT_OK : LT_BAD_ARGUMENT;
}

static int chain_plan(const lt_chain_args *c, chain_job *job) {
  if (c->count < 1 || c->count > MAX_STAGES || c->rows < 0 || c->rows > INT32_MAX || c->threads < 1 || !c->stages)
    return LT_BAD_ARGUMENT;
  job->c = c;
  job->last = c->count - 1;
  const int64_t *words = c->stages;
  for (int64_t i = 0; i < c->count; i++) {
    chain_stage *s = &job->stages[i];
    int status = read_stage(s, words);
    if (status) return status;
    words += 1 + s->kind->slots;
    const int64_t *f = s->f, *before = i ? job->stages[i - 1].f : 0;
    if (i && (f[N] != before[N] || f[IH] != before[OH] || f[IW] != before[OW] || f[IC] != before[OC] ||
              f[LDX] != before[LDY]))
      return LT_BAD_ARGUMENT;
  }
  const int64_t n = job->stages[0].f[N], whole = c->rows == 0, threads = min64(c->threads, LT_MAX_THREADS);
  job->strips = n % threads ? min64(threads, job->stages[job->last].f[OH]) : 1;
  int64_t own = 0;
  job->room = 0;
  for (int64_t i = job->last; i >= 0; i--) {
    chain_stage *s = &job->stages[i];
    const chain_stage *next = s + 1;
    s->rows = whole            ? s->f[OH]
              : i == job->last ? min64(c->rows, s->f[OH])
                               : min64(s->f[OH], (next->rows - 1) * next->f[SH] + next->span);
    s->buffer = job->room;
    if (i < job->last) job->room += line_up((whole ? n : 1) * s->rows * s->out_line);
    own = max64(own, scratch_of(s, whole ? n : 1, s->rows));
  }
  job->scratch = job->room;
  job->room += line_up(own);
  return LT_OK;
}

int64_t lt_chain_work(const void *args) {
  const lt_chain_args *c = args;
  chain_job job;
  if (chain_plan(c, &job)) return 0;
  return c->rows ? job.room * min64(c->threads, LT_MAX_THREADS) : job.room;
}

/* A thread's state: what each stage has made, and its arguments, of which every call changes a few. */
typedef struct {
  const chain_job *job;
  int64_t image;
  char *room;
  row_range made[MAX_STAGES]; /* rows in the stage's buffer */
  int64_t args[MAX_STAGES][MAX_SLOTS];
} strip;

/* Let the buffer of stage i begin at row `first`. */
static void drop_rows(strip *t, int64_t i, int64_t first) {
  const chain_stage *s = &t->job->stages[i];
  row_range *made = &t->made[i];
  char *buffer = t->room + s->buffer;
  if (made->end > first && first > made->first)
    memmove(buffer, buffer + (first - made->first) * s->out_line, (size_t)((made->end - first) * s->out_line));
  made->first = first;
  made->end = max64(made->end, first);
}

/* Make rows `out` of stage i. */
static int make_rows(strip *t, int64_t i, row_range out) {
  const chain_job *job = t->job;
  const chain_stage *s = &job->stages[i];
  const uint8_t *at = s->kind->at;
  const row_range in = rows_read(s, out);
  int64_t *args = t->args[i];
  const char *x = i ? t->room + s[-1].buffer - t->made[i - 1].first * s[-1].out_line
                    : (const char *)job->c->x + t->image * s->f[IH] * s->in_line;
  char *y = i < job->last ? t->room + s->buffer - t->made[i].first * s->out_line
                          : (char *)job->c->y + t->image * s->f[OH] * s->out_line;
  args[at[X]] = (int64_t)(uintptr_t)(x + in.first * s->in_line);
  args[at[Y]] = (int64_t)(uintptr_t)(y + out.first * s->out_line);
  if (i == job->last && job->c->residual) {
    const int64_t pixel = (t->image * s->f[OH] + out.first) * s->f[OW];
    args[at[RESIDUAL]] = (int64_t)(uintptr_t)((const float *)job->c->residual + pixel * s->f[LDR]);
  }
  args[at[OH]] = out.end - out.first;
  args[at[IH]] = in.end - in.first;
  args[at[PT]] = in.first - (out.first * s->f[SH] - s->f[PT]);
  return s->kind->run(args);
}

static int run_strip(strip *t, int64_t y0, int64_t y1) {
  const chain_job *job = t->job;
  for (int64_t i = 0; i <= job->last; i++) {
    const chain_stage *s = &job->stages[i];
    memcpy(t->args[i], s->args, (size_t)s->kind->slots * sizeof(int64_t));
    t->args[i][s->kind->at[N]] = 1;
    t->args[i][s->kind->at[WORK]] = (int64_t)(t->room + job->scratch);
    t->made[i] = (row_range){0, 0};
  }
  for (int64_t y = y0; y < y1; y += job->c->rows) {
    row_range need[MAX_STAGES];
    need[job->last] = (row_range){y, min64(y1, y + job->c->rows)};
    for (int64_t i = job->last; i > 0; i--) need[i - 1] = rows_read(&job->stages[i], need[i]);
    for (int64_t i = 0; i <= job->last; i++) {
      drop_rows(t, i, need[i].first);
      const row_range out = {t->made[i].end, need[i].end};
      if (out.first >= out.end) continue;
      int status = make_rows(t, i, out);
      if (status) return status;
      t->made[i].end = out.end;
    }
  }
  return LT_OK;
}

static void chain_task(void *context, int64_t index, int thread) {
  chain_job *job = context;
  const int64_t i = index % job->strips, oh = job->stages[job->last].f[OH];
  strip t = {.job = job, .image = index / job->strips, .room = (char *)job->c->work + thread * job->room};
  int status = run_strip(&t, oh * i / job->strips, oh * (i + 1) / job->strips);
  if (status) atomic_store(&job->status, status);
}

/* Every stage as a whole, on its own threads. */
static int run_whole(const chain_job *job) {
  const lt_chain_args *c = job->c;
  for (int64_t i = 0; i <= job->last; i++) {
    const chain_stage *s = &job->stages[i];
    int64_t args[MAX_SLOTS];
    memcpy(args, s->args, (size_t)s->kind->slots * sizeof *args);
    args[s->kind->at[X]] = (int64_t)(i ? (char *)c->work + s[-1].buffer : c->x);
    args[s->kind->at[Y]] = (int64_t)(i < job->last ? (char *)c->work + s->buffer : c->y);
    args[s->kind->at[WORK]] = (int64_t)((char *)c->work + job->scratch);
    if (i == job->last && c->residual) args[s->kind->at[RESIDUAL]] = (int64_t)c->residual;
    int status = s->kind->run(args);
    if (status) return status;
  }
  return LT_OK;
}

int lt_chain_run(const void *args) {
  const lt_chain_args *c = args;
  chain_job job = {.status = LT_OK};
  int status = chain_plan(c, &job);
  if (status) return status;
  if (!c->x || !c->y) return LT_BAD_ARGUMENT;
  if (!c->work && lt_chain_work(c) > 0) return LT_NO_WORKSPACE;
  if (!c->rows) return run_whole(&job);
  lt_parallel_for(c->threads, job.stages[0].f[N] * job.strips, chain_task, &job);
  return atomic_load(&job.status);
}
