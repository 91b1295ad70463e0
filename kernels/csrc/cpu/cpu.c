#include "cpu.h"

#include <stdio.h>
#include <string.h>

#include "luthier/lt_ops.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
static int has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

static int has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

int lt_isa_available(int64_t isa) {
  switch (isa) {
    case LT_ISA_SCALAR: return 1;
#if defined(__x86_64__)
    case LT_ISA_AVX2: return LT_IF_AVX2(has_avx2());
    case LT_ISA_AVX512: return LT_IF_AVX512(has_avx512());
#elif defined(__aarch64__)
    case LT_ISA_NEON: return LT_IF_NEON(1);
#endif
    default: return 0;
  }
}

#if defined(__aarch64__) && defined(__linux__)
/* Bits of AT_HWCAP and AT_HWCAP2 (Linux, asm/hwcap.h). */
static int arm_has(int second, int bit) { return getauxval(second ? AT_HWCAP2 : AT_HWCAP) >> bit & 1; }
#elif defined(__aarch64__)
static int arm_has(int second, int bit) {
  (void)second;
  (void)bit;
  return 0;
}
#endif

#if defined(LT_AVXVNNI_AS_EVEX) /* tools/avxvnni.py */
#define has_avxvnni() (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
#else
#define has_avxvnni() __builtin_cpu_supports("avxvnni")
#endif

int lt_int8_isa_available(int64_t isa) {
  switch (isa) {
#if defined(__x86_64__)
    case LT_ISA_AVXVNNI: return LT_IF_AVXVNNI(has_avx2() && has_avxvnni());
    case LT_ISA_AVX512VNNI: return LT_IF_AVX512VNNI(has_avx512() && __builtin_cpu_supports("avx512vnni"));
#elif defined(__aarch64__)
    case LT_ISA_NEONMULL: return LT_IF_NEONMULL(1);
    case LT_ISA_NEONDOT: return LT_IF_NEONDOT(arm_has(0, 20));
    case LT_ISA_NEONI8MM: return LT_IF_NEONI8MM(arm_has(0, 20) && arm_has(1, 13));
#endif
    default: return lt_isa_available(isa);
  }
}

int lt_half_isa_available(int64_t isa) {
  switch (isa) {
#if defined(__x86_64__)
    case LT_ISA_AVX512BF16: return LT_IF_AVX512BF16(has_avx512() && __builtin_cpu_supports("avx512bf16"));
#elif defined(__aarch64__)
    case LT_ISA_NEONFP16: return LT_IF_NEONFP16(arm_has(0, 10));
    case LT_ISA_NEONBF16: return LT_IF_NEONBF16(arm_has(1, 14));
#endif
    default: return 0;
  }
}

int64_t lt_base_isa(int64_t isa) {
  switch (isa) {
    case LT_ISA_AVXVNNI: return LT_ISA_AVX2;
    case LT_ISA_AVX512VNNI:
    case LT_ISA_AVX512BF16: return LT_ISA_AVX512;
    default: return isa < LT_ISA_COUNT ? isa : LT_ISA_NEON;
  }
}

int64_t lt_isa_lanes(int64_t isa) {
  static const int64_t lanes[LT_ISA_ALL] = {4, 8, 16, 4, 8, 16, 4, 4, 4, 16, 8, 4};
  return isa >= 0 && isa < LT_ISA_ALL ? lanes[isa] : 0;
}

#if defined(__x86_64__)
/* Formatting would cut the strings. */
/* clang-format off */
#define LT_X86_FEATURES(X)                                                \
  X("sse4.2") X("avx") X("f16c") X("avx2") X("fma") X("avx512f")          \
  X("avx512bw") X("avx512dq") X("avx512vl") X("avxvnni") X("avx512vnni")  \
  X("avx512bf16")
/* clang-format on */
#elif defined(__aarch64__) && defined(__linux__)
/* As for arm_has. */
#define LT_ARM_FEATURES(X) \
  X("asimd", 0, 1) X("asimdhp", 0, 10) X("asimddp", 0, 20) X("sve", 0, 22) X("i8mm", 1, 13) X("bf16", 1, 14)
#endif

const char *lt_cpu_features(void) {
  static char names[256];
  char text[256] = "";
#if defined(__x86_64__)
  __builtin_cpu_init();
#define LT_ADD(name)                  \
  if (__builtin_cpu_supports(name)) { \
    strcat(text, text[0] ? " " : ""); \
    strcat(text, name);               \
  }
  LT_X86_FEATURES(LT_ADD)
#elif defined(__aarch64__) && defined(__linux__)
#define LT_ADD(name, second, bit)     \
  if (arm_has(second, bit)) {         \
    strcat(text, text[0] ? " " : ""); \
    strcat(text, name);               \
  }
  LT_ARM_FEATURES(LT_ADD)
#endif
  snprintf(names, sizeof names, "%s", text);
  return names;
}
