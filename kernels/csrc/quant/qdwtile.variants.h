/* Register tiles of the quantised depthwise kernels: X(KW, S, OWT) is kernel width KW, stride S, OWT output pixels. Every OWT
 * up to the largest is there, so that a row can be split evenly. */
#ifndef LT_QDWTILE_VARIANTS_H
#define LT_QDWTILE_VARIANTS_H

#define LT_QDW_OWT_1_2(X, KW, S) X(KW, S, 1) X(KW, S, 2)
#define LT_QDW_OWT_1_4(X, KW, S) LT_QDW_OWT_1_2(X, KW, S) X(KW, S, 3) X(KW, S, 4)

#define LT_QDW_16_REGISTERS(X) \
  LT_QDW_OWT_1_2(X, 3, 1) LT_QDW_OWT_1_2(X, 3, 2) LT_QDW_OWT_1_2(X, 5, 1) LT_QDW_OWT_1_2(X, 5, 2)
#define LT_QDW_32_REGISTERS(X) \
  LT_QDW_OWT_1_4(X, 3, 1) LT_QDW_OWT_1_4(X, 3, 2) LT_QDW_OWT_1_4(X, 5, 1) LT_QDW_OWT_1_4(X, 5, 2)

#define LT_QDW_VARIANTS_avx2(X) LT_QDW_16_REGISTERS(X)
#define LT_QDW_VARIANTS_avxvnni(X) LT_QDW_16_REGISTERS(X)
#define LT_QDW_VARIANTS_avx512(X) LT_QDW_32_REGISTERS(X)
#define LT_QDW_VARIANTS_avx512vnni(X) LT_QDW_32_REGISTERS(X)
#define LT_QDW_VARIANTS_neon(X) LT_QDW_32_REGISTERS(X)

#endif
