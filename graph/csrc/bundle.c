#define _POSIX_C_SOURCE 200809L
#include "bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sha256.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "exported plans are little-endian"
#endif

#define MAX_BYTES ((int64_t)16 << 30) /* of an arena or tensor, as luthier.limits */
#define MAX_THREADS 4096
#define WEIGHTS_TAIL 64 /* bytes after the last weight */
#define WEIGHTS (-1)    /* the buffer of relocations to weights */

/* -- the file ----------------------------------------------------------------------------------------------------- */

typedef struct {
  char magic[8];
  int64_t version, bytes;
  char kernels[16];
  uint8_t sha256[32]; /* of all that follows */
  int64_t name;       /* strings are offsets into theirs, and end with 0 */
  int64_t strings_at, strings_bytes;
  int64_t inputs, outputs, tensors_at;
  int64_t plans, plans_at;
  int64_t weights_at, weights_bytes;
} file_header;

typedef struct {
  int64_t name, type, rank, dims[LUTHIER_MAX_RANK], bytes;
} file_tensor;

typedef struct {
  int64_t target, fingerprint, notes, isas, threads, arena_bytes;
  int64_t steps, steps_at, args_at, args_bytes, relocations, relocations_at;
} file_plan;

typedef struct {
  int64_t op, args, name;
} file_step;

static const char magic[8] = "luthier";

struct lt_bundle {
  char *path;
  const uint8_t *data;
  size_t size;
  int mapped;
  lt_host host;
  const file_header *header;
  const char *strings;
  const file_plan *plans;
  const uint8_t *weights;
  luthier_tensor *tensors;
};

static int fail(char *message, int status, const char *path, const char *format, ...) {
  const int begin = snprintf(message, LT_MESSAGE_SIZE, "%.300s: ", path);
  va_list rest;
  va_start(rest, format);
  vsnprintf(message + begin, (size_t)(LT_MESSAGE_SIZE - begin), format, rest);
  va_end(rest);
  return status;
}

#define BAD(...) fail(message, LUTHIER_BAD_FILE, b->path, __VA_ARGS__)

/* `count` items of `size` bytes at `at`, or null where they are not all inside the file. */
static const void *section(const lt_bundle *b, int64_t at, int64_t count, int64_t size) {
  const int64_t begin = (int64_t)sizeof(file_header), end = b->header->bytes;
  if (at < begin || at > end || at % 8 || count < 0 || count > (end - at) / size) return 0;
  return b->data + at;
}

static const char *string(const lt_bundle *b, int64_t at) {
  return at >= 0 && at < b->header->strings_bytes ? b->strings + at : 0;
}

static int read_tensors(lt_bundle *b, char *message) {
  static const int sizes[] = {4, 2, 8, 1, 1, 2, 2, 4, 8, 1}; /* of enum luthier_type */
  const file_header *h = b->header;
  if (h->inputs < 0 || h->outputs < 0 || h->inputs > h->bytes || h->outputs > h->bytes)
    return BAD("bad number of inputs");
  const int64_t count = h->inputs + h->outputs;
  const file_tensor *from = section(b, h->tensors_at, count, sizeof *from);
  if (!from) return BAD("inputs and outputs are outside the file");
  b->tensors = calloc((size_t)count + 1, sizeof *b->tensors);
  if (!b->tensors) return fail(message, LUTHIER_NO_MEMORY, b->path, "no memory");
  for (int64_t i = 0; i < count; i++) {
    luthier_tensor *t = &b->tensors[i];
    *t = (luthier_tensor){.name = string(b, from[i].name), .type = from[i].type, .rank = from[i].rank};
    if (!t->name || t->type < 0 || t->type > LUTHIER_BOOL || t->rank < 0 || t->rank > LUTHIER_MAX_RANK)
      return BAD("tensor %lld is invalid", (long long)i);
    t->bytes = sizes[t->type];
    for (int64_t d = 0; d < t->rank; d++) {
      t->dims[d] = from[i].dims[d];
      if (t->dims[d] < 0 || __builtin_mul_overflow(t->bytes, t->dims[d], &t->bytes) || t->bytes > MAX_BYTES)
        return BAD("shape of %.100s is invalid", t->name);
    }
    if (t->bytes != from[i].bytes) return BAD("size of %.100s is not that of its shape", t->name);
  }
  return LUTHIER_OK;
}

static int read_header(lt_bundle *b, char *message) {
  if (b->size < sizeof(file_header) || memcmp(b->data, magic, sizeof magic)) return BAD("not a file of luthier export");
  const file_header *h = b->header = (const file_header *)b->data;
  if (h->version != LT_BUNDLE_VERSION)
    return BAD("format version %lld, this luthier reads %d", (long long)h->version, LT_BUNDLE_VERSION);
  char kernels[sizeof h->kernels] = "";
  memcpy(kernels, b->host.kernels, strnlen(b->host.kernels, sizeof kernels));
  if (memcmp(h->kernels, kernels, sizeof kernels))
    return BAD("made for kernels %.16s, these are %.16s: export it again", h->kernels, kernels);
  if (h->bytes < 0 || (uint64_t)h->bytes != b->size)
    return BAD("has %zu bytes instead of %lld: truncated or damaged", b->size, (long long)h->bytes);
  uint8_t digest[32];
  const size_t begin = offsetof(file_header, name);
  lt_sha256(b->data + begin, b->size - begin, digest);
  if (memcmp(digest, h->sha256, sizeof digest)) return BAD("SHA-256 does not match: damaged or changed");
  b->strings = section(b, h->strings_at, h->strings_bytes, 1);
  if (!b->strings || h->strings_bytes < 1 || b->strings[h->strings_bytes - 1]) return BAD("strings are invalid");
  if (!string(b, h->name)) return BAD("the name is invalid");
  b->weights = section(b, h->weights_at, h->weights_bytes, 1);
  if (!b->weights || h->weights_at % 64 || h->weights_bytes < WEIGHTS_TAIL) return BAD("weights are outside the file");
  b->plans = section(b, h->plans_at, h->plans, sizeof *b->plans);
  if (!b->plans) return BAD("plans are outside the file");
  for (int64_t i = 0; i < h->plans; i++) {
    const file_plan *p = &b->plans[i];
    if (!string(b, p->target) || !string(b, p->fingerprint) || !string(b, p->notes) || p->isas <= 0 || p->threads < 1 ||
        p->threads > MAX_THREADS || p->arena_bytes < 0 || p->arena_bytes > MAX_BYTES)
      return BAD("plan %lld is invalid", (long long)i);
  }
  return read_tensors(b, message);
}

static int open_bytes(const char *path, const void *data, size_t size, int mapped, const lt_host *host,
                      lt_bundle **bundle, char *message) {
  lt_bundle *b = calloc(1, sizeof *b);
  char *name = b ? strdup(path) : 0;
  if (!name) {
    free(b);
    if (mapped) munmap((void *)data, size);
    return fail(message, LUTHIER_NO_MEMORY, path, "no memory");
  }
  *b = (lt_bundle){.path = name, .data = data, .size = size, .mapped = mapped, .host = *host};
  const int status = read_header(b, message);
  if (status) {
    lt_bundle_close(b);
    return status;
  }
  *bundle = b;
  return LUTHIER_OK;
}

int lt_bundle_open_memory(const char *path, const void *data, size_t size, const lt_host *host, lt_bundle **bundle,
                          char message[LT_MESSAGE_SIZE]) {
  if ((uintptr_t)data % 64) return fail(message, LUTHIER_BAD_ARGUMENT, path, "the address is not divisible by 64");
  return open_bytes(path, data, size, 0, host, bundle, message);
}

int lt_bundle_open(const char *path, const lt_host *host, lt_bundle **bundle, char message[LT_MESSAGE_SIZE]) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(message, LUTHIER_NO_FILE, path, "%s", strerror(errno));
  void *data = MAP_FAILED;
  const off_t size = lseek(file, 0, SEEK_END); /* what is no file has none, or cannot be mapped */
  if (size >= 0 && size < (off_t)sizeof(file_header)) {
    close(file);
    return fail(message, LUTHIER_BAD_FILE, path, "not a file of luthier export");
  }
  if (size > 0) data = mmap(0, (size_t)size, PROT_READ, MAP_PRIVATE, file, 0);
  const int reason = errno;
  close(file);
  if (data == MAP_FAILED) return fail(message, LUTHIER_NO_FILE, path, "%s", strerror(reason));
  return open_bytes(path, data, (size_t)size, 1, host, bundle, message);
}

void lt_bundle_close(lt_bundle *b) {
  if (!b) return;
  if (b->mapped) munmap((void *)b->data, b->size);
  free(b->tensors);
  free(b->path);
  free(b);
}

const char *lt_bundle_name(const lt_bundle *b) { return string(b, b->header->name); }
int64_t lt_bundle_inputs(const lt_bundle *b) { return b->header->inputs; }
int64_t lt_bundle_outputs(const lt_bundle *b) { return b->header->outputs; }
int64_t lt_bundle_plans(const lt_bundle *b) { return b->header->plans; }
int64_t lt_bundle_weights(const lt_bundle *b) { return b->header->weights_bytes; }
const luthier_tensor *lt_bundle_tensor(const lt_bundle *b, int64_t index) { return &b->tensors[index]; }

lt_plan_info lt_bundle_plan(const lt_bundle *b, int64_t plan) {
  const file_plan *p = &b->plans[plan];
  return (lt_plan_info){.target = string(b, p->target),
                        .fingerprint = string(b, p->fingerprint),
                        .notes = string(b, p->notes),
                        .isas = p->isas,
                        .threads = p->threads,
                        .arena_bytes = p->arena_bytes,
                        .step_count = p->steps,
                        .relocation_count = p->relocations,
                        .args_bytes = p->args_bytes};
}

int64_t lt_bundle_choose(const lt_bundle *b, const char *fingerprint) {
  int64_t found = -1;
  for (int64_t i = b->header->plans - 1; i >= 0; i--) {
    const file_plan *p = &b->plans[i];
    if (p->isas & ~b->host.isas) continue;
    if (fingerprint && !strcmp(fingerprint, string(b, p->fingerprint))) return i;
    found = i;
  }
  return found;
}

/* -- a plan ------------------------------------------------------------------------------------------------------- */

/* The next of an operator's fields, "P:x I:n ...": its kind, and where its name is. */
typedef struct {
  const char *at, *name;
  size_t length;
} field;

static char next_field(field *f) {
  const char kind = *f->at;
  if (!kind) return 0;
  f->name = f->at + 2;
  f->length = strcspn(f->name, " ");
  f->at = f->name + f->length + (f->name[f->length] == ' ');
  return kind;
}

static int is_named(const field *f, const char *name) {
  return strlen(name) == f->length && !memcmp(f->name, name, f->length);
}

static int64_t count_fields(const lt_op *op) {
  int64_t count = 0;
  for (field f = {op->fields, 0, 0}; next_field(&f);) count++;
  return count;
}

/* Bytes from a relocation's target to the end of its buffer, or -1 if it is none or starts outside. */
static int64_t room(const lt_bundle *b, const file_plan *p, const lt_relocation *r) {
  const file_header *h = b->header;
  int64_t bytes;
  if (r->buffer == WEIGHTS) {
    bytes = h->weights_bytes - WEIGHTS_TAIL;
  } else if (r->buffer == 0) {
    bytes = p->arena_bytes;
  } else if (r->buffer > 0 && r->buffer <= h->inputs + h->outputs) {
    bytes = b->tensors[r->buffer - 1].bytes;
  } else {
    return -1;
  }
  return r->offset < 0 || r->offset > bytes ? -1 : bytes - r->offset;
}

/* The relocation of every slot of the arguments, or null. */
typedef const lt_relocation *slot_map;

/* The operators, and that their slots are what they should be: a pointer is null or relocated into a buffer. */
static int check_steps(const lt_bundle *b, const file_plan *p, const file_step *steps, slot_map *map,
                       lt_program *program, char *message) {
  int64_t end = 0;
  for (int64_t i = 0; i < p->steps; i++) {
    const char *name = string(b, steps[i].name);
    if (!name || steps[i].op < 0 || steps[i].op >= b->host.op_count) return BAD("step %lld is invalid", (long long)i);
    const lt_op *op = &b->host.ops[steps[i].op];
    if (!op->run) return BAD("%.100s: this program was built without %s", name, op->name);
    const int64_t size = 8 * count_fields(op);
    if (steps[i].args != end || size > p->args_bytes - end) return BAD("arguments of %.100s are misplaced", name);
    const int64_t *args = (const int64_t *)(program->args + end);
    int64_t slot = end / 8;
    for (field f = {op->fields, 0, 0}; *f.at; slot++, args++) {
      const char kind = next_field(&f);
      if (kind == 'P' ? !map[slot] && *args : !!map[slot])
        return BAD("%.100s: pointer of %.*s is invalid", name, (int)f.length, f.name);
      if (kind == 'I' && is_named(&f, "isa") && (*args < 0 || *args > 62 || !(p->isas >> *args & 1)))
        return BAD("%.100s: instruction set is not one of the plan's", name);
    }
    program->steps[i] = (lt_step){op->run, end};
    program->names[i] = name;
    end += size;
  }
  return end == p->args_bytes ? LUTHIER_OK : BAD("there are arguments of no step");
}

/* What a step does with the memory under one of its pointers. */
typedef struct {
  const lt_relocation *place; /* null: the pointer is */
  lt_reach reach;
} use;

static int overlap(const use *u, const use *v) {
  if (!u->place || !v->place || u->place->buffer != v->place->buffer) return 0;
  return u->place->offset + u->reach.begin < v->place->offset + v->reach.end &&
         v->place->offset + v->reach.begin < u->place->offset + u->reach.end;
}

/* A step stays inside the buffers that it points to, with as much scratch memory as it asks for, does not write to
 * inputs and weights, nor over what it has checked. Its pointers are null, but those to weights. */
static int check_step(const lt_bundle *b, const file_plan *p, int64_t number, const char *name, int64_t *args,
                      const slot_map *map, char *message) {
  static const _Alignas(64) uint8_t zeros[64];
  const lt_op *op = &b->host.ops[number];
  lt_reach reach[LT_MAX_SLOTS];
  const int status = b->host.reach(number, args, reach);
  if (status == LT_BAD_VARIANT) return BAD("%.100s: %s is not for exported plans", name, op->name);
  if (status) return BAD("%.100s: sizes are invalid", name);
  use uses[LT_MAX_SLOTS] = {0};
  int64_t slots = 0, work = -1;
  for (field f = {op->fields, 0, 0}; next_field(&f); slots++) {
    uses[slots] = (use){map[slots], reach[slots]};
    if (is_named(&f, "work")) work = slots;
    /* Operators look at whether operands are there when they are asked for scratch, and at scalars. */
    if (map[slots] && map[slots]->buffer != WEIGHTS) args[slots] = (int64_t)(uintptr_t)zeros;
  }
  const int64_t need = op->work(args);
  if (need < 0 || (need > 0 && (work < 0 || !map[work]))) return BAD("%.100s: scratch memory is missing", name);
  if (work >= 0) uses[work].reach = (lt_reach){LT_WRITES, 0, need};
  for (int64_t i = 0; i < slots; i++) {
    const lt_relocation *r = uses[i].place;
    const lt_reach *u = &uses[i].reach;
    if (!r) continue;
    if (u->access == LT_UNTOUCHED || u->end > room(b, p, r) || -u->begin > r->offset)
      return BAD("%.100s: argument %lld reaches outside its memory", name, (long long)i);
    if (u->access == LT_WRITES && (r->buffer == WEIGHTS || (r->buffer > 0 && r->buffer <= b->header->inputs)))
      return BAD("%.100s: argument %lld writes to what is read only", name, (long long)i);
    for (int64_t k = 0; u->access == LT_CHECKS && k < slots; k++)
      if (uses[k].reach.access == LT_WRITES && overlap(&uses[i], &uses[k]))
        return BAD("%.100s: argument %lld is overwritten", name, (long long)i);
    if (r->buffer != WEIGHTS) args[i] = 0;
  }
  return LUTHIER_OK;
}

static int make_program(const lt_bundle *b, const file_plan *p, slot_map *map, lt_program *program, char *message) {
  const file_step *steps = section(b, p->steps_at, p->steps, sizeof *steps);
  const char *args = section(b, p->args_at, p->args_bytes, 1);
  if (!steps || !args || !program->relocations) return BAD("a plan is outside the file");
  memcpy(program->args, args, (size_t)p->args_bytes);
  for (int64_t i = 0; i < p->relocations; i++) {
    const lt_relocation *r = &program->relocations[i];
    if (r->slot < 0 || r->slot >= p->args_bytes / 8 || map[r->slot] || room(b, p, r) < 0)
      return BAD("relocation %lld is invalid", (long long)i);
    map[r->slot] = r;
  }
  const int status = check_steps(b, p, steps, map, program, message);
  if (status) return status;
  lt_relocate(program->relocations, p->relocations, program->args, WEIGHTS, b->weights);
  for (int64_t i = 0; i < p->steps; i++) {
    int64_t *own = (int64_t *)(program->args + steps[i].args);
    const int bad = check_step(b, p, steps[i].op, program->names[i], own, map + steps[i].args / 8, message);
    if (bad) return bad;
  }
  return LUTHIER_OK;
}

int lt_program_make(const lt_bundle *b, int64_t plan, lt_program *program, char message[LT_MESSAGE_SIZE]) {
  const file_plan *p = &b->plans[plan];
  *program = (lt_program){.info = lt_bundle_plan(b, plan)};
  /* Each is in the file, which bounds what is allocated. */
  if (!section(b, p->steps_at, p->steps, sizeof(file_step)) || !section(b, p->args_at, p->args_bytes, 1) ||
      p->args_bytes % 8)
    return BAD("a plan is outside the file");
  program->relocations = section(b, p->relocations_at, p->relocations, sizeof(lt_relocation));
  program->steps = calloc((size_t)p->steps + 1, sizeof *program->steps);
  program->names = calloc((size_t)p->steps + 1, sizeof *program->names);
  program->args = calloc((size_t)p->args_bytes + 8, 1);
  slot_map *map = calloc((size_t)p->args_bytes / 8 + 1, sizeof *map);
  int status = LUTHIER_NO_MEMORY;
  if (program->steps && program->names && program->args && map)
    status = make_program(b, p, map, program, message);
  else
    fail(message, status, b->path, "no memory");
  free(map);
  if (status) lt_program_free(program);
  return status;
}

void lt_program_free(lt_program *program) {
  free(program->steps);
  free(program->names);
  free(program->args);
  *program = (lt_program){0};
}
