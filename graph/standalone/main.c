/* Runs one model: raw tensors in, raw tensors out, each file holding all of them in order.
 *
 * The model is linked in (embed.c), or is the file model.luthier beside the program. */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "luthier.h"

/* Of embed.c, if that is there. */
extern const unsigned char luthier_embedded[], luthier_embedded_end[];
#pragma weak luthier_embedded
#pragma weak luthier_embedded_end

static const char usage[] = "usage: model [--model FILE.luthier] [--repeat N] INPUT.bin OUTPUT.bin\n"
                            "       model [--model FILE.luthier] --info\n"
                            "INPUT.bin holds the input tensors, dense and in order; so will OUTPUT.bin.\n"
                            "--repeat runs N times and tells the median time.\n";

static int complain(const char *what, const char *why) {
  fprintf(stderr, "%s%s%s\n", what, *what ? ": " : "", why);
  return 1;
}

static int open_model(const char *path, luthier_model **model) {
  char beside[PATH_MAX];
  if (!path && luthier_embedded)
    return luthier_open_memory(luthier_embedded, (size_t)(luthier_embedded_end - luthier_embedded), model);
  if (!path) {
    static const char name[] = "model.luthier";
    const ssize_t length = readlink("/proc/self/exe", beside, sizeof beside - sizeof name);
    char *slash = length > 0 ? memrchr(beside, '/', (size_t)length) : 0;
    strcpy(slash ? slash + 1 : beside, name);
    path = beside;
  }
  return luthier_open(path, model);
}

static void show(const char *kind, const luthier_tensor *t) {
  static const char *const types[] = {"float32", "float16", "float64", "int8",  "uint8",
                                      "int16",   "uint16",  "int32",   "int64", "bool"};
  printf("%s %s: %s [", kind, t->name, types[t->type]);
  for (int64_t d = 0; d < t->rank; d++) printf("%s%lld", d ? ", " : "", (long long)t->dims[d]);
  printf("], %lld bytes\n", (long long)t->bytes);
}

typedef const luthier_tensor *describe_fn(const luthier_model *model, int index);

/* A block of memory for every tensor, in a list that ends with null; null for want of memory. */
static void **make_room(const luthier_model *model, describe_fn *describe) {
  int count = 0;
  while (describe(model, count)) count++;
  void **room = calloc((size_t)count + 1, sizeof *room);
  for (int i = 0; room && i < count; i++)
    if (posix_memalign(&room[i], 64, (size_t)describe(model, i)->bytes + 64)) return 0;
  return room;
}

static int read_inputs(const luthier_model *model, const char *path, void **inputs) {
  FILE *file = fopen(path, "rb");
  if (!file) return complain(path, "cannot be opened");
  int ok = 1;
  for (int i = 0; inputs[i] && ok; i++) {
    const size_t bytes = (size_t)luthier_input(model, i)->bytes;
    ok = fread(inputs[i], 1, bytes, file) == bytes;
  }
  ok = ok && fgetc(file) == EOF;
  fclose(file);
  return ok ? 0 : complain(path, "does not have the size of the inputs (see --info)");
}

static int write_outputs(const luthier_model *model, const char *path, void **outputs) {
  FILE *file = fopen(path, "wb");
  if (!file) return complain(path, "cannot be written");
  int ok = 1;
  for (int i = 0; outputs[i] && ok; i++) {
    const size_t bytes = (size_t)luthier_output(model, i)->bytes;
    ok = fwrite(outputs[i], 1, bytes, file) == bytes;
  }
  ok = fclose(file) == 0 && ok;
  return ok ? 0 : complain(path, "cannot be written");
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int run(luthier_model *model, const char *from, const char *to, long repeat) {
  void **inputs = make_room(model, luthier_input), **outputs = make_room(model, luthier_output);
  double *times = malloc((size_t)(repeat ? repeat : 1) * sizeof *times);
  if (!inputs || !outputs || !times) return complain("", "no memory for the tensors");
  if (read_inputs(model, from, inputs)) return 1;
  long i = 0;
  do {
    const double begin = now();
    if (luthier_run(model, (const void *const *)inputs, outputs)) return complain("", luthier_message());
    times[i] = now() - begin;
  } while (++i < repeat);
  if (write_outputs(model, to, outputs)) return 1;
  qsort(times, (size_t)i, sizeof *times, ascending);
  if (repeat) printf("median of %ld runs: %.3f ms\n", i, times[i / 2] * 1e3);
  return 0; /* the system takes the memory back */
}

int main(int argc, char **argv) {
  const char *path = 0, *files[2];
  long repeat = 0;
  int count = 0, info = 0;
  for (int i = 1; i < argc; i++) {
    const int more = i + 1 < argc;
    if (!strcmp(argv[i], "--info"))
      info = 1;
    else if (!strcmp(argv[i], "--model") && more)
      path = argv[++i];
    else if (!strcmp(argv[i], "--repeat") && more && (repeat = atol(argv[i + 1])) > 0 && repeat <= 1000000)
      i++;
    else if (argv[i][0] != '-' && count < 2)
      files[count++] = argv[i];
    else
      return fputs(usage, stderr), 2;
  }
  if (info ? count : count != 2) return fputs(usage, stderr), 2;
  luthier_model *model;
  const int status = open_model(path, &model);
  if (status) return complain("", luthier_message());
  if (info) {
    for (int i = 0; luthier_input(model, i); i++) show("input", luthier_input(model, i));
    for (int i = 0; luthier_output(model, i); i++) show("output", luthier_output(model, i));
  }
  const int code = info ? 0 : run(model, files[0], files[1], repeat);
  luthier_close(model);
  return code;
}
