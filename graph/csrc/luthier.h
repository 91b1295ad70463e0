/* Runs models that `luthier export` wrote: the C interface.
 *
 *   luthier_model *model;
 *   if (luthier_open("model.luthier", &model)) { puts(luthier_message()); exit(1); }
 *   const void *inputs[] = {image};
 *   void *outputs[] = {scores};
 *   if (luthier_run(model, inputs, outputs)) puts(luthier_message());
 *   luthier_close(model);
 *
 * Every call may be made from any thread. Runs of one model take turns; to run at once, open the file once for each
 * thread: the weights are shared by the system's page cache. The file must not change while it is open.
 */
#ifndef LUTHIER_H
#define LUTHIER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum luthier_status {
  LUTHIER_OK = 0,
  LUTHIER_BAD_ARGUMENT = 1, /* an argument is null or out of range */
  LUTHIER_NO_FILE = 2,      /* the file cannot be opened or mapped */
  LUTHIER_BAD_FILE = 3,     /* it is no such file, is damaged, or was made for other kernels */
  LUTHIER_NO_PLAN = 4,      /* none of its plans suits this CPU */
  LUTHIER_NO_MEMORY = 5,
  LUTHIER_FAILED = 6 /* a kernel refused its arguments */
};

enum { LUTHIER_MAX_RANK = 8 };

enum luthier_type {
  LUTHIER_FLOAT32 = 0,
  LUTHIER_FLOAT16,
  LUTHIER_FLOAT64,
  LUTHIER_INT8,
  LUTHIER_UINT8,
  LUTHIER_INT16,
  LUTHIER_UINT16,
  LUTHIER_INT32,
  LUTHIER_INT64,
  LUTHIER_BOOL
};

/* An input or output: dense, the last dimension innermost. */
typedef struct {
  const char *name;
  int64_t type; /* enum luthier_type */
  int64_t rank;
  int64_t dims[LUTHIER_MAX_RANK];
  int64_t bytes;
} luthier_tensor;

typedef struct luthier_model luthier_model;

/* Open an exported file, check all of it, and choose the plan for this CPU. */
int luthier_open(const char *path, luthier_model **model);

/* The same of a file in memory, at an address divisible by 64, that stays there until the model is closed. */
int luthier_open_memory(const void *data, size_t size, luthier_model **model);

/* Inputs and outputs; null where there is no such one. They live as long as the model. */
const luthier_tensor *luthier_input(const luthier_model *model, int index);
const luthier_tensor *luthier_output(const luthier_model *model, int index);

/* Run once. One pointer an input and output, in order, each to `bytes` bytes, aligned as its type wants. */
int luthier_run(luthier_model *model, const void *const *inputs, void *const *outputs);

/* Null is closed already. */
void luthier_close(luthier_model *model);

/* What went wrong in this thread's last call that failed. */
const char *luthier_message(void);

#ifdef __cplusplus
}
#endif

#endif
