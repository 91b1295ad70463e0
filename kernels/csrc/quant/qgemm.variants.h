/* The register tiles: X(MR, NV) is MR rows by NV vectors. With a tile every smaller one is there, so that rows can be
 * split evenly and the last panel may be narrower. Registers: MR NV accumulators, NV of B, and one of A (NEON: MR of A). */
#ifndef LT_QGEMM_VARIANTS_H
#define LT_QGEMM_VARIANTS_H

#define LT_QMR_1_4(X, NV) X(1, NV) X(2, NV) X(3, NV) X(4, NV)
#define LT_QMR_1_6(X, NV) LT_QMR_1_4(X, NV) X(5, NV) X(6, NV)
#define LT_QMR_1_8(X, NV) LT_QMR_1_6(X, NV) X(7, NV) X(8, NV)
#define LT_QMR_1_14(X, NV) LT_QMR_1_8(X, NV) X(9, NV) X(10, NV) X(11, NV) X(12, NV) X(13, NV) X(14, NV)

#define LT_QGEMM_VARIANTS_avx512vnni(X) LT_QMR_1_14(X, 1) LT_QMR_1_14(X, 2) LT_QMR_1_8(X, 3) LT_QMR_1_6(X, 4)
#define LT_QGEMM_VARIANTS_avx512(X) LT_QMR_1_14(X, 1) LT_QMR_1_14(X, 2) LT_QMR_1_8(X, 3) LT_QMR_1_6(X, 4)
#define LT_QGEMM_VARIANTS_avxvnni(X) LT_QMR_1_8(X, 1) LT_QMR_1_6(X, 2) LT_QMR_1_4(X, 3)
#define LT_QGEMM_VARIANTS_avx2(X) LT_QMR_1_8(X, 1) LT_QMR_1_6(X, 2) LT_QMR_1_4(X, 3)
#define LT_QGEMM_VARIANTS_neon(X) LT_QMR_1_8(X, 1) LT_QMR_1_6(X, 2) X(7, 2) LT_QMR_1_4(X, 3) LT_QMR_1_4(X, 4)
#define LT_QGEMM_VARIANTS_neonmull(X) LT_QMR_1_8(X, 1) LT_QMR_1_6(X, 2) LT_QMR_1_4(X, 3) LT_QMR_1_4(X, 4)
#define LT_QGEMM_VARIANTS_neondot(X) LT_QMR_1_8(X, 1) LT_QMR_1_8(X, 2) LT_QMR_1_6(X, 3) LT_QMR_1_4(X, 4)
#define LT_QGEMM_VARIANTS_neoni8mm(X) LT_QMR_1_8(X, 1) LT_QMR_1_8(X, 2) LT_QMR_1_6(X, 3) LT_QMR_1_4(X, 4)
#define LT_QGEMM_VARIANTS_scalar(X) LT_QMR_1_4(X, 1) LT_QMR_1_4(X, 2)

#endif
