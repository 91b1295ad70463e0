/* Runs a flat plan: no allocation, no decision, no Python. */
#ifndef LT_EXECUTOR_H
#define LT_EXECUTOR_H

#include <stdint.h>

#include "luthier/lt_ops.h"

typedef struct {
  lt_run_fn run;
  int64_t args; /* byte offset of the argument struct */
} lt_step;

typedef struct {
  int64_t slot;   /* index of an 8-byte slot in the arguments */
  int64_t buffer; /* 0 the arena, then the inputs, then the outputs */
  int64_t offset; /* bytes */
} lt_relocation;

/* Point the slots in `args` that belong to `buffer` into the memory at `base`. */
void lt_relocate(const lt_relocation *relocations, int64_t count, void *args, int64_t buffer, const void *base);

/* Call steps [first, end) with their arguments in `args`. With `times`, add each step's seconds to times[i]. Returns
 * the first step that failed, its status in *status, or -1. */
int64_t lt_run_steps(const lt_step *steps, int64_t first, int64_t end, const char *args, double *times, int *status);

#endif
