/* What the CPU can execute. */
#ifndef LT_CPU_H
#define LT_CPU_H

#include <stdint.h>

/* 1 if kernels of this ISA (enum lt_isa) are built in and the CPU and system can run them. */
int lt_isa_available(int64_t isa);

/* The same for the kernels of qgemm and qconv2d, which know more instruction sets. */
int lt_int8_isa_available(int64_t isa);

/* The same for the products of 16 bits of gemm and conv2d: instruction sets that only these know. */
int lt_half_isa_available(int64_t isa);

/* The ISA of enum lt_isa whose kernels run wherever those of this one do. */
int64_t lt_base_isa(int64_t isa);

/* Vector length in floats of an ISA, 0 for an unknown one. */
int64_t lt_isa_lanes(int64_t isa);

/* Space-separated names of the instruction-set features that kernels may care for, such as "avx2 fma avx512f". */
const char *lt_cpu_features(void);

/* LT_IF_<ISA>(x) is x where kernels of that ISA are built in, else 0. Programs of one model leave some out. */
#if defined(__x86_64__) && !defined(LT_WITHOUT_AVX2)
#define LT_IF_AVX2(x) x
#else
#define LT_IF_AVX2(x) 0
#endif
#if defined(__x86_64__) && !defined(LT_WITHOUT_AVX512)
#define LT_IF_AVX512(x) x
#else
#define LT_IF_AVX512(x) 0
#endif
#if defined(__x86_64__) && !defined(LT_WITHOUT_AVXVNNI)
#define LT_IF_AVXVNNI(x) x
#else
#define LT_IF_AVXVNNI(x) 0
#endif
#if defined(__x86_64__) && !defined(LT_WITHOUT_AVX512VNNI)
#define LT_IF_AVX512VNNI(x) x
#else
#define LT_IF_AVX512VNNI(x) 0
#endif
#if defined(__x86_64__) && !defined(LT_WITHOUT_AVX512BF16)
#define LT_IF_AVX512BF16(x) x
#else
#define LT_IF_AVX512BF16(x) 0
#endif
#if defined(__aarch64__) && !defined(LT_WITHOUT_NEON)
#define LT_IF_NEON(x) x
#else
#define LT_IF_NEON(x) 0
#endif
#if defined(__aarch64__) && !defined(LT_WITHOUT_NEONMULL)
#define LT_IF_NEONMULL(x) x
#else
#define LT_IF_NEONMULL(x) 0
#endif
#if defined(__aarch64__) && !defined(LT_WITHOUT_NEONDOT)
#define LT_IF_NEONDOT(x) x
#else
#define LT_IF_NEONDOT(x) 0
#endif
#if defined(__aarch64__) && !defined(LT_WITHOUT_NEONI8MM)
#define LT_IF_NEONI8MM(x) x
#else
#define LT_IF_NEONI8MM(x) 0
#endif

#if defined(__aarch64__) && !defined(LT_WITHOUT_NEONFP16)
#define LT_IF_NEONFP16(x) x
#else
#define LT_IF_NEONFP16(x) 0
#endif
#if defined(__aarch64__) && !defined(LT_WITHOUT_NEONBF16)
#define LT_IF_NEONBF16(x) x
#else
#define LT_IF_NEONBF16(x) 0
#endif

/* The initialiser of a table over enum lt_isa, from the stem of a per-ISA name. */
#define LT_ISA_TABLE(stem) \
  {stem##_scalar, LT_IF_AVX2(stem##_avx2), LT_IF_AVX512(stem##_avx512), LT_IF_NEON(stem##_neon)}

/* The same over the instruction sets of qgemm and qconv2d. */
#define LT_INT8_TABLE(stem)             \
  {stem##_scalar,                       \
   LT_IF_AVX2(stem##_avx2),             \
   LT_IF_AVX512(stem##_avx512),         \
   LT_IF_NEON(stem##_neon),             \
   LT_IF_AVXVNNI(stem##_avxvnni),       \
   LT_IF_AVX512VNNI(stem##_avx512vnni), \
   LT_IF_NEONMULL(stem##_neonmull),     \
   LT_IF_NEONDOT(stem##_neondot),       \
   LT_IF_NEONI8MM(stem##_neoni8mm)}

#endif
