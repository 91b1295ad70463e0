/* luthier-runner: the kernels as a program, for devices without Python. It is spoken to over its standard input and
 * output by luthier.tuner.link, which has the other half of this protocol.
 *
 * A request is a line "SEQ VERB ARGUMENTS", the answer "SEQ ok TEXT", "SEQ error TEXT", or "SEQ data SIZE CRC" and so
 * many bytes. CRC is that of zlib. IDs are numbers below OBJECTS.
 *
 *   hello                           what this program and its CPU are, as NAME=VALUE
 *   file PATH                       data: a short file below /proc or /sys
 *   put ID SIZE CRC                 a buffer, its bytes follow the line
 *   noise ID COUNT SEED             a buffer of floats that luthier.kernels.noise makes as well
 *   room ID SIZE                    a buffer of bytes 0xff, which are NaN as floats
 *   call ID OP COPIES NAME=VALUE... an operator's arguments (lt_ops.h); pointers are IDs of buffers, 0 is null; times
 * are taken over so many copies of the buffer `w`, so that its bytes are cold drop ID                         forget a
 * buffer or call trial                           begin a trial: from here to its end everything happens in a process of
 * its own, run CALL SECONDS                which may call operators, time CALL INNER SECONDS         time INNER calls
 * of one (the answer is seconds a call), sum ID                          and tell the checksum read ID or the data of a
 * buffer, end                             and which leaves no trace but its answers.
 *
 * A process of a trial that dies, as a kernel crashes or takes more than SECONDS, is told of by the line "died SIGNAL"
 * whenever it happens; then the trial is over. The program ends with its input, and after IDLE seconds without any.
 * With --once it deletes itself first, and its folder: however it ends, nothing of it remains. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/clock.h"
#include "cpu/cpu.h"
#include "cpu/num.h"
#include "luthier/lt_ops.h"

enum {
  PROTOCOL = 1,
  IDLE = 900,
  LINE = 1 << 14, /* bytes of a request, more than any call has */
  FILE_SIZE = 1 << 16,
  OBJECTS = 256,
  SLOTS = 128,
  COPIES = 16,
  ATTEMPTS = 4
};

#define MOST_BYTES ((int64_t)1 << 32)  /* of a buffer */
#define MOST_MEMORY ((int64_t)3 << 30) /* of all */

typedef struct {
  const lt_op *op; /* null: a buffer, or nothing */
  void *data;
  int64_t size;
  int64_t slots[SLOTS]; /* of a call, pointers as IDs */
  int64_t copies;
  void *calls[COPIES]; /* the structs, made when the call is first run */
} object;

static object objects[OBJECTS];
static int64_t used, limit; /* bytes of memory */
static int in_trial;
static const char *sequence; /* of the request at hand */

/* -- input and output ------------------------------------------------------------------------------------------- */

static char input[1 << 16];
static size_t input_at, input_end;

/* More bytes; 0 at the end of the input. A host that is silent for long is gone. */
static int fill(void) {
  alarm(IDLE);
  ssize_t got;
  do got = read(0, input, sizeof input);
  while (got < 0 && errno == EINTR);
  alarm(0);
  input_at = 0;
  input_end = got > 0 ? (size_t)got : 0;
  return got > 0;
}

static int read_line(char *line) {
  size_t length = 0;
  for (;;) {
    if (input_at == input_end && !fill()) return 0;
    const char c = input[input_at++];
    if (c == '\n') break;
    if (length == LINE - 1) return 0;
    line[length++] = c;
  }
  line[length] = 0;
  return 1;
}

static int read_bytes(char *to, int64_t size) {
  while (size > 0) {
    if (input_at == input_end && !fill()) return 0;
    const size_t have = input_end - input_at, take = (int64_t)have < size ? have : (size_t)size;
    if (to) memcpy(to, input + input_at, take), to += take;
    input_at += take;
    size -= (int64_t)take;
  }
  return 1;
}

static void write_all(const char *bytes, int64_t size) {
  while (size > 0) {
    const ssize_t put = write(1, bytes, (size_t)(size < 1 << 20 ? size : 1 << 20));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) _exit(1); /* the host is gone */
    bytes += put;
    size -= put;
  }
}

static void say(const char *kind, const char *text) {
  char line[2048];
  const int size = snprintf(line, sizeof line, "%s %s %s\n", sequence, kind, text);
  write_all(line, size < (int)sizeof line ? size : (int)sizeof line - 1);
}

static void ok(const char *text) { say("ok", text); }
static void error(const char *text) { say("error", text); }

static uint32_t crc32(const unsigned char *bytes, int64_t size) {
  static uint32_t table[256];
  if (!table[1])
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
      table[i] = c;
    }
  uint32_t crc = ~0u;
  for (int64_t i = 0; i < size; i++) crc = table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
  return ~crc;
}

static void data(const void *bytes, int64_t size) {
  char text[64];
  snprintf(text, sizeof text, "%" PRId64 " %" PRIu32, size, crc32(bytes, size));
  say("data", text);
  write_all(bytes, size);
}

/* The next word of a request as a number of [low, high]; -1 if it is none. */
static int64_t number(char **rest, int64_t low, int64_t high) {
  char *word = strsep(rest, " "), *end;
  if (!word || !*word) return -1;
  errno = 0;
  const long long value = strtoll(word, &end, 10);
  return *end || errno || value < low || value > high ? -1 : value;
}

/* -- objects ---------------------------------------------------------------------------------------------------- */

static void *allocate(int64_t size) {
  void *room;
  if (size > limit - used || posix_memalign(&room, 64, size ? (size_t)size : 1)) return 0;
  used += size;
  return room;
}

static void forget(object *o) {
  if (o->data) used -= o->size;
  free(o->data);
  memset(o, 0, sizeof *o);
}

static object *object_at(int64_t id) { return id > 0 && id < OBJECTS ? &objects[id] : 0; }

/* A new buffer in the place of the ID that the request begins with; null after telling why not. */
static object *new_buffer(char **rest, int64_t unit) {
  object *o = object_at(number(rest, 1, OBJECTS - 1));
  const int64_t count = number(rest, 0, MOST_BYTES / unit);
  if (!o || count < 0) return error("bad buffer"), NULL;
  forget(o);
  o->data = allocate(count * unit);
  if (!o->data) return error("no memory"), NULL;
  o->size = count * unit;
  return o;
}

static int put(char *rest) {
  char *sizes = strchr(rest, ' ');
  const int64_t size = sizes ? strtoll(sizes, 0, 10) : -1;
  object *o = new_buffer(&rest, 1);
  if (!o) return size >= 0 && size <= MOST_BYTES && read_bytes(0, size); /* the bytes come all the same */
  const int64_t crc = number(&rest, 0, UINT32_MAX);
  if (!read_bytes(o->data, o->size)) return 0;
  if (crc32(o->data, o->size) == crc) return ok(""), 1;
  forget(o);
  return error("damaged on the way"), 1;
}

/* Uniform with mean 0 and variance 1. The hash is lowbias32 of C. Wellons, "Prospecting for Hash Functions" (2018). */
static void noise(char *rest) {
  object *o = new_buffer(&rest, sizeof(float));
  if (!o) return;
  const uint32_t seed = (uint32_t)number(&rest, 0, UINT32_MAX);
  float *to = o->data;
  for (int64_t i = 0; i < o->size / (int64_t)sizeof(float); i++) {
    uint32_t h = (uint32_t)i + seed * 0x9e3779b9u;
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    h ^= h >> 16;
    to[i] = (float)((int32_t)h >> 8) * (1.7320508f / 8388608.0f);
  }
  ok("");
}

static void room(char *rest) {
  object *o = new_buffer(&rest, 1);
  if (!o) return;
  memset(o->data, 0xff, (size_t)o->size);
  ok("");
}

/* The slot of a field of an operator, -1 if there is none; *kind is 'P', 'I' or 'D'. */
static int slot_of(const lt_op *op, const char *name, size_t length, char *kind) {
  int slot = 0;
  for (const char *f = op->fields; *f && slot < SLOTS; slot++) {
    const char *end = strchr(f, ' ');
    if ((size_t)(end - f) == length + 2 && !memcmp(f + 2, name, length)) return *kind = *f, slot;
    f = end + 1;
  }
  return -1;
}

static void call(char *rest) {
  object *o = object_at(number(&rest, 1, OBJECTS - 1));
  const char *name = strsep(&rest, " ");
  const int64_t copies = number(&rest, 1, COPIES);
  if (!o || !name || copies < 0) return error("bad call");
  forget(o);
  for (int i = 0; i < lt_op_count; i++)
    if (!strcmp(lt_op_table[i].name, name)) o->op = &lt_op_table[i];
  if (!o->op) return error("no such operator");
  o->copies = copies;
  for (char *word; (word = strsep(&rest, " "));) {
    char kind = 0, *end, *value = strchr(word, '=');
    const int slot = value ? slot_of(o->op, word, (size_t)(value - word), &kind) : -1;
    if (slot < 0) return forget(o), error("no such argument");
    const double real = strtod(value + 1, &end);
    if (kind == 'D')
      memcpy(&o->slots[slot], &real, sizeof real);
    else
      o->slots[slot] = strtoll(value + 1, &end, 10);
    if (*end) return forget(o), error("bad value");
  }
  ok("");
}

/* In a trial: make the structs of a call, with scratch memory and copies of `w`. Null, or why not. */
static const char *bind(object *o) {
  if (!o->op) return "no such call";
  if (o->calls[0]) return 0;
  char kind;
  const int w = slot_of(o->op, "w", 1, &kind), work = slot_of(o->op, "work", 4, &kind);
  int64_t *slots = o->slots;
  const object *weights = 0;
  int slot = 0;
  for (const char *f = o->op->fields; *f; f = strchr(f, ' ') + 1, slot++)
    if (*f == 'P' && slots[slot]) {
      const object *b = object_at(slots[slot]);
      if (!b || !b->data) return "no such buffer";
      if (slot == w) weights = b;
      slots[slot] = (int64_t)(intptr_t)b->data;
    }
  const int64_t size = o->op->work(slots);
  if (size > 0) {
    void *scratch = work < 0 ? 0 : allocate(size);
    if (!scratch) return "no memory";
    slots[work] = (int64_t)(intptr_t)scratch;
  }
  if (!weights) o->copies = 1;
  for (int64_t i = 0; i < o->copies; i++) {
    int64_t *args = allocate(sizeof o->slots);
    if (!args) return "no memory";
    memcpy(args, slots, sizeof o->slots);
    if (i) {
      void *copy = allocate(weights->size);
      if (!copy) return "no memory";
      args[w] = (int64_t)(intptr_t)memcpy(copy, weights->data, (size_t)weights->size);
    }
    o->calls[i] = args;
  }
  return 0;
}

/* -- trials ----------------------------------------------------------------------------------------------------- */

static const char *const statuses[] = {"", "an argument is out of range", "no such variant on this CPU",
                                       "workspace is missing"};

/* Seconds a call, once more where another process took the CPU away, as in luthier.tuner.environment. */
static double timed(const object *o, int64_t inner, int *status) {
  double best = 1e30;
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    struct rusage before, after;
    const int64_t count = inner >> attempt;
    getrusage(RUSAGE_SELF, &before);
    const double took = lt_time_calls(o->op->run, (const void *const *)o->calls, o->copies, count ? count : 1, status);
    getrusage(RUSAGE_SELF, &after);
    if (took < best) best = took;
    if (before.ru_nivcsw == after.ru_nivcsw) break;
  }
  return best;
}

static void execute(char *rest, int timing) {
  object *o = object_at(number(&rest, 1, OBJECTS - 1));
  const int64_t inner = timing ? number(&rest, 1, 1 << 30) : 0, seconds = number(&rest, 1, INT_MAX);
  if (!o || inner < 0 || seconds < 0) return error("bad arguments");
  const char *reason = bind(o);
  if (reason) return error(reason);
  char text[64] = "";
  int status = 0;
  alarm((unsigned)seconds); /* ends the process */
  if (timing)
    snprintf(text, sizeof text, "%.9e", timed(o, inner, &status));
  else
    status = o->op->run(o->calls[0]);
  alarm(0);
  if (!status) return ok(text);
  error(status > 0 && status < 4 ? statuses[status] : "refused by the kernel");
}

static void tell(char *rest, int whole) {
  const object *o = object_at(number(&rest, 1, OBJECTS - 1));
  if (!o || !o->data) return error("no such buffer");
  if (whole) return data(o->data, o->size);
  char text[16];
  snprintf(text, sizeof text, "%" PRIu32, crc32(o->data, o->size));
  ok(text);
}

/* In the first process: wait while the trial speaks with the host. */
static void trial(void) {
  const pid_t first = getpid(), child = fork();
  if (child < 0) return error(strerror(errno));
  if (!child) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != first) _exit(1);
    in_trial = 1;
    return ok("");
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (!status) return;
  char line[32];
  const int size = snprintf(line, sizeof line, "died %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  write_all(line, size);
}

/* -- what this machine is --------------------------------------------------------------------------------------- */

static int64_t read_file(const char *path, char *to) {
  const int fd = open(path, O_RDONLY);
  if (fd < 0) return -1;
  int64_t size = 0;
  ssize_t got;
  while (size < FILE_SIZE && (got = read(fd, to + size, (size_t)(FILE_SIZE - size))) > 0) size += got;
  close(fd);
  return size;
}

static char file_text[FILE_SIZE + 1];

static void file(const char *path) {
  if ((strncmp(path, "/proc/", 6) && strncmp(path, "/sys/", 5)) || strstr(path, "..")) return error("not told");
  const int64_t size = read_file(path, file_text);
  if (size < 0) return error(strerror(errno));
  data(file_text, size);
}

/* Three quarters of the memory that is free, at most MOST_MEMORY. */
static int64_t free_memory(void) {
  const int64_t size = read_file("/proc/meminfo", file_text);
  file_text[size > 0 ? size : 0] = 0;
  const char *at = strstr(file_text, "MemAvailable:");
  const int64_t bytes = at ? strtoll(at + 13, 0, 10) << 10 : (int64_t)1 << 28;
  return min64(bytes / 4 * 3, MOST_MEMORY);
}

static void hello(void) {
  char text[1900], cpus[1024] = "", features[256];
  struct utsname system;
  if (uname(&system)) return error(strerror(errno));
  cpu_set_t set;
  CPU_ZERO(&set);
  if (!sched_getaffinity(0, sizeof set, &set))
    for (int i = 0; i < 256; i++)
      if (CPU_ISSET(i, &set)) sprintf(cpus + strlen(cpus), "%s%d", *cpus ? "," : "", i);
  snprintf(features, sizeof features, "%s", lt_cpu_features());
  for (char *c = features; *c; c++) *c = *c == ' ' ? ',' : *c;
  int isas = 0, int8 = 0;
  for (int i = 0; i < LT_ISA_COUNT; i++) isas |= lt_isa_available(i) << i;
  for (int i = 0; i < LT_INT8_ISA_COUNT; i++) int8 |= lt_int8_isa_available(i) << i;
  snprintf(text, sizeof text,
           "protocol=%d kernels=%s machine=%s cores=%ld cpus=%s isas=%d int8=%d features=%s memory=%" PRId64, PROTOCOL,
           LT_SOURCES, system.machine, sysconf(_SC_NPROCESSORS_ONLN), cpus, isas, int8, features, limit);
  ok(text);
}

/* -- the loop --------------------------------------------------------------------------------------------------- */

/* 0 if the input is not to be understood any more. */
static int answer(char *line) {
  char *rest = line;
  sequence = strsep(&rest, " ");
  const char *verb = rest ? strsep(&rest, " ") : "";
  if (!rest) rest = line + strlen(line);
  if (strlen(sequence) > 20) return 0;
  if (!strcmp(verb, "hello")) return hello(), 1;
  if (!strcmp(verb, "file")) return file(rest), 1;
  if (in_trial) {
    if (!strcmp(verb, "run") || !strcmp(verb, "time")) return execute(rest, *verb == 't'), 1;
    if (!strcmp(verb, "sum") || !strcmp(verb, "read")) return tell(rest, *verb == 'r'), 1;
    if (strcmp(verb, "end")) return error("not in a trial"), strcmp(verb, "put");
    ok("");
    _exit(0);
  }
  if (!strcmp(verb, "put")) return put(rest);
  if (!strcmp(verb, "noise")) return noise(rest), 1;
  if (!strcmp(verb, "room")) return room(rest), 1;
  if (!strcmp(verb, "call")) return call(rest), 1;
  if (!strcmp(verb, "trial")) return trial(), 1;
  object *o = strcmp(verb, "drop") ? 0 : object_at(number(&rest, 1, OBJECTS - 1));
  if (!o) return error("not understood"), 1;
  return forget(o), ok(""), 1;
}

static void delete_self(const char *path) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  unlink(path);
  if (slash) *slash = 0, rmdir(folder);
}

int main(int argc, char **argv) {
  static char line[LINE];
  if (argc > 1 && !strcmp(argv[1], "--once")) delete_self(argv[0]);
  limit = free_memory();
  while (read_line(line))
    if (!answer(line)) return 1;
  return 0;
}
