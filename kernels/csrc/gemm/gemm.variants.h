/* The register tiles: X(MR, NV, KU) is MR rows by NV vectors, with KU steps of k unrolled (0: one, B read in place). Every MR up to the largest is
 * there so that rows can be split evenly and no tail is slow. Registers: MR NV accumulators, NV of B, and one of A
 * (NEON: MR of A, each of four k). */
#ifndef LT_GEMM_VARIANTS_H
#define LT_GEMM_VARIANTS_H

#define LT_MR_1_4(X, NV, KU) X(1, NV, KU) X(2, NV, KU) X(3, NV, KU) X(4, NV, KU)
#define LT_MR_1_6(X, NV, KU) LT_MR_1_4(X, NV, KU) X(5, NV, KU) X(6, NV, KU)
#define LT_MR_1_8(X, NV, KU) LT_MR_1_6(X, NV, KU) X(7, NV, KU) X(8, NV, KU)
#define LT_MR_1_9(X, NV, KU) LT_MR_1_8(X, NV, KU) X(9, NV, KU)
#define LT_MR_1_12(X, NV, KU) LT_MR_1_9(X, NV, KU) X(10, NV, KU) X(11, NV, KU) X(12, NV, KU)
#define LT_MR_1_14(X, NV, KU) LT_MR_1_12(X, NV, KU) X(13, NV, KU) X(14, NV, KU)

#define LT_GEMM_VARIANTS_avx512(X)                                                                  \
  LT_MR_1_14(X, 1, 0) LT_MR_1_14(X, 2, 0) LT_MR_1_9(X, 3, 0) LT_MR_1_6(X, 4, 0)                     \
  LT_MR_1_14(X, 1, 1) LT_MR_1_14(X, 2, 1) LT_MR_1_9(X, 3, 1) LT_MR_1_6(X, 4, 1)                     \
  LT_MR_1_14(X, 1, 4) LT_MR_1_14(X, 2, 4) LT_MR_1_9(X, 3, 4) LT_MR_1_6(X, 4, 4)

#define LT_GEMM_VARIANTS_avx2(X)                                                                    \
  LT_MR_1_12(X, 1, 0) LT_MR_1_6(X, 2, 0) LT_MR_1_4(X, 3, 0)                                         \
  LT_MR_1_12(X, 1, 1) LT_MR_1_6(X, 2, 1) LT_MR_1_4(X, 3, 1)                                         \
  LT_MR_1_12(X, 1, 4) LT_MR_1_6(X, 2, 4) LT_MR_1_4(X, 3, 4)

/* Words of two halves. */
#define LT_GEMM_VARIANTS_avx512bf16(X)                                                              \
  LT_MR_1_14(X, 1, 1) LT_MR_1_14(X, 2, 1) LT_MR_1_9(X, 3, 1) LT_MR_1_6(X, 4, 1)                     \
  LT_MR_1_14(X, 1, 4) LT_MR_1_14(X, 2, 4) LT_MR_1_9(X, 3, 4) LT_MR_1_6(X, 4, 4)

/* Vectors of eight columns, a row of A in a register of eight k. */
#define LT_GEMM_VARIANTS_neonfp16(X) \
  LT_MR_1_9(X, 1, 1) LT_MR_1_9(X, 2, 1) LT_MR_1_6(X, 3, 1) X(7, 3, 1) LT_MR_1_4(X, 4, 1) X(5, 4, 1)

/* Pairs of rows by pairs of columns. */
#define LT_GEMM_VARIANTS_neonbf16(X) \
  LT_MR_1_12(X, 1, 1) LT_MR_1_12(X, 2, 1) LT_MR_1_6(X, 3, 1) X(7, 3, 1) X(8, 3, 1)

/* A step of NEON is four k already. In halves (ku 2 and 3, see steps_neon.h), narrower and lower tiles are as those of
 * ku 1, and 12 by 2 would need all registers. */
#define LT_MR_4_6(X, NV, KU) X(4, NV, KU) X(5, NV, KU) X(6, NV, KU)
#define LT_MR_4_8(X, NV, KU) LT_MR_4_6(X, NV, KU) X(7, NV, KU) X(8, NV, KU)
#define LT_MR_4_11(X, NV, KU) LT_MR_4_8(X, NV, KU) X(9, NV, KU) X(10, NV, KU) X(11, NV, KU)
#define LT_GEMM_VARIANTS_neon(X)                                                                    \
  LT_MR_1_12(X, 1, 0) LT_MR_1_12(X, 2, 0) LT_MR_1_8(X, 3, 0) LT_MR_1_6(X, 4, 0)                     \
  LT_MR_1_12(X, 1, 1) LT_MR_1_12(X, 2, 1) LT_MR_1_8(X, 3, 1) LT_MR_1_6(X, 4, 1)                     \
  LT_MR_4_11(X, 2, 2) LT_MR_4_8(X, 3, 2) LT_MR_4_6(X, 4, 2)                                         \
  LT_MR_4_11(X, 2, 3) LT_MR_4_8(X, 3, 3) LT_MR_4_6(X, 4, 3)

#define LT_GEMM_VARIANTS_scalar(X) LT_MR_1_6(X, 1, 0) LT_MR_1_6(X, 2, 0) LT_MR_1_6(X, 1, 1) LT_MR_1_6(X, 2, 1)

#endif
