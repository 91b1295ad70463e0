/* Exported plans: the file of `luthier export`, mapped and checked. docs/deployment.md describes the format.
 *
 * Nothing of a file is believed: offsets, sizes and numbers are checked before they are used, and so is how far each
 * operator reaches from its pointers. What a plan computes, and how long that takes, is its own affair.
 */
#ifndef LT_BUNDLE_H
#define LT_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

#include "executor.h"
#include "luthier.h"
#include "luthier/lt_reach.h"

enum { LT_BUNDLE_VERSION = 1, LT_MESSAGE_SIZE = 512 };

/* What runs the plans. */
typedef struct {
  const lt_op *ops;
  int64_t op_count;
  int (*reach)(int64_t op, const void *args, lt_reach reach[LT_MAX_SLOTS]); /* lt_op_reach */
  int64_t isas;        /* a bit for each of enum lt_isa that may be used */
  const char *kernels; /* hash of the kernels' sources */
} lt_host;

typedef struct {
  const char *target, *fingerprint; /* the profile or machine, and its text of `luthier cpu` */
  const char *notes;                /* the steps as JSON, for people */
  int64_t isas, threads, arena_bytes;
  int64_t step_count, relocation_count, args_bytes;
} lt_plan_info;

typedef struct lt_bundle lt_bundle;

/* A plan whose pointers to weights are in place. */
typedef struct {
  lt_step *steps;
  const char **names;               /* of the steps, for messages */
  const lt_relocation *relocations; /* those of buffer -1 are done */
  char *args;
  lt_plan_info info;
} lt_program;

/* Map the file at `path`, or take what is in memory at an address divisible by 8 and call it `path`. Status of
 * luthier.h, and one line in message. */
int lt_bundle_open(const char *path, const lt_host *host, lt_bundle **bundle, char message[LT_MESSAGE_SIZE]);
int lt_bundle_open_memory(const char *path, const void *data, size_t size, const lt_host *host, lt_bundle **bundle,
                          char message[LT_MESSAGE_SIZE]);
void lt_bundle_close(lt_bundle *bundle);

const char *lt_bundle_name(const lt_bundle *bundle);
int64_t lt_bundle_inputs(const lt_bundle *bundle);
int64_t lt_bundle_outputs(const lt_bundle *bundle);
int64_t lt_bundle_plans(const lt_bundle *bundle);
int64_t lt_bundle_weights(const lt_bundle *bundle); /* bytes */

/* The inputs, then the outputs. */
const luthier_tensor *lt_bundle_tensor(const lt_bundle *bundle, int64_t index);

lt_plan_info lt_bundle_plan(const lt_bundle *bundle, int64_t plan);

/* The plan made for just this machine (fingerprint may be null), or the first one whose ISAs the host has; -1: none. */
int64_t lt_bundle_choose(const lt_bundle *bundle, const char *fingerprint);

/* Check a plan whose ISAs the host has, and make it ready. */
int lt_program_make(const lt_bundle *bundle, int64_t plan, lt_program *program, char message[LT_MESSAGE_SIZE]);
void lt_program_free(lt_program *program);

#endif
