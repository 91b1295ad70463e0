/* The C interface of luthier.h, over the kernels that are linked with it. */
#define _POSIX_C_SOURCE 200809L
#include "luthier.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "cpu/cpu.h"

struct luthier_model {
  lt_bundle *bundle;
  lt_program program;
  void *arena;
  pthread_mutex_t running;
};

static _Thread_local char message[LT_MESSAGE_SIZE];

static int fail(int status, const char *text) {
  snprintf(message, sizeof message, "%s", text);
  return status;
}

const char *luthier_message(void) { return message; }

static lt_host this_host(void) {
  lt_host host = {.ops = lt_op_table, .op_count = lt_op_count, .reach = lt_op_reach, .kernels = LT_SOURCES};
  for (int64_t isa = 0; isa < LT_ISA_ALL; isa++)
    if (lt_int8_isa_available(isa) || lt_half_isa_available(isa)) host.isas |= (int64_t)1 << isa;
  return host;
}

/* Takes the bundle. */
static int make_model(lt_bundle *bundle, luthier_model **made) {
  luthier_model *model = calloc(1, sizeof *model);
  if (!model) {
    lt_bundle_close(bundle);
    return fail(LUTHIER_NO_MEMORY, "no memory");
  }
  model->bundle = bundle;
  pthread_mutex_init(&model->running, 0);
  const int64_t plan = lt_bundle_choose(bundle, 0);
  int status = plan < 0 ? fail(LUTHIER_NO_PLAN, "no plan of the file suits this CPU")
                        : lt_program_make(bundle, plan, &model->program, message);
  if (!status && posix_memalign(&model->arena, 64, (size_t)model->program.info.arena_bytes + 64)) {
    model->arena = 0;
    status = fail(LUTHIER_NO_MEMORY, "no memory for activations");
  }
  if (status) {
    luthier_close(model);
    return status;
  }
  lt_relocate(model->program.relocations, model->program.info.relocation_count, model->program.args, 0, model->arena);
  *made = model;
  return LUTHIER_OK;
}

int luthier_open(const char *path, luthier_model **model) {
  if (!path || !model) return fail(LUTHIER_BAD_ARGUMENT, "a null pointer was given");
  *model = 0;
  const lt_host host = this_host();
  lt_bundle *bundle;
  const int status = lt_bundle_open(path, &host, &bundle, message);
  return status ? status : make_model(bundle, model);
}

int luthier_open_memory(const void *data, size_t size, luthier_model **model) {
  if (!data || !model) return fail(LUTHIER_BAD_ARGUMENT, "a null pointer was given");
  *model = 0;
  const lt_host host = this_host();
  lt_bundle *bundle;
  const int status = lt_bundle_open_memory("memory", data, size, &host, &bundle, message);
  return status ? status : make_model(bundle, model);
}

const luthier_tensor *luthier_input(const luthier_model *model, int index) {
  return index >= 0 && index < lt_bundle_inputs(model->bundle) ? lt_bundle_tensor(model->bundle, index) : 0;
}

const luthier_tensor *luthier_output(const luthier_model *model, int index) {
  const int64_t inputs = lt_bundle_inputs(model->bundle);
  return index >= 0 && index < lt_bundle_outputs(model->bundle) ? lt_bundle_tensor(model->bundle, inputs + index) : 0;
}

/* Whether every tensor from the first on has its memory, which then is where the arguments point. */
static int bind(luthier_model *model, int64_t first, int64_t count, const void *const *pointers) {
  for (int64_t i = 0; i < count; i++) {
    if (!pointers || !pointers[i]) return 0;
    lt_relocate(model->program.relocations, model->program.info.relocation_count, model->program.args, 1 + first + i,
                pointers[i]);
  }
  return 1;
}

int luthier_run(luthier_model *model, const void *const *inputs, void *const *outputs) {
  if (!model) return fail(LUTHIER_BAD_ARGUMENT, "a null pointer was given");
  const int64_t in = lt_bundle_inputs(model->bundle), out = lt_bundle_outputs(model->bundle);
  int status = LUTHIER_OK, reason;
  pthread_mutex_lock(&model->running);
  if (!bind(model, 0, in, inputs) || !bind(model, in, out, (const void *const *)outputs)) {
    status = fail(LUTHIER_BAD_ARGUMENT, "a null pointer was given");
  } else {
    const lt_program *p = &model->program;
    const int64_t failed = lt_run_steps(p->steps, 0, p->info.step_count, p->args, 0, &reason);
    if (failed >= 0) {
      snprintf(message, sizeof message, "%.400s: status %d", p->names[failed], reason);
      status = LUTHIER_FAILED;
    }
  }
  pthread_mutex_unlock(&model->running);
  return status;
}

void luthier_close(luthier_model *model) {
  if (!model) return;
  lt_program_free(&model->program);
  lt_bundle_close(model->bundle);
  pthread_mutex_destroy(&model->running);
  free(model->arena);
  free(model);
}
