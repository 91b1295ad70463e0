/* Register tiles of the special depthwise kernels: X(KW, S, OWT, CV) is kernel width KW, stride S, OWT output pixels by CV
 * vectors of channels. Every OWT up to the largest is there, so that a row can be split evenly. */
#ifndef LT_DWCONV_VARIANTS_H
#define LT_DWCONV_VARIANTS_H

#define LT_OWT_1_4(X, KW, S, CV) X(KW, S, 1, CV) X(KW, S, 2, CV) X(KW, S, 3, CV) X(KW, S, 4, CV)
#define LT_OWT_1_8(X, KW, S, CV) \
  LT_OWT_1_4(X, KW, S, CV) X(KW, S, 5, CV) X(KW, S, 6, CV) X(KW, S, 7, CV) X(KW, S, 8, CV)

#define LT_DW_32_REGISTERS(X)                                                                       \
  LT_OWT_1_8(X, 3, 1, 1) LT_OWT_1_8(X, 3, 1, 2) LT_OWT_1_8(X, 3, 2, 1) LT_OWT_1_8(X, 3, 2, 2)       \
  LT_OWT_1_8(X, 5, 1, 1) LT_OWT_1_8(X, 5, 1, 2) LT_OWT_1_8(X, 5, 2, 1) LT_OWT_1_8(X, 5, 2, 2)

#define LT_DW_16_REGISTERS(X)                                                                       \
  LT_OWT_1_8(X, 3, 1, 1) LT_OWT_1_4(X, 3, 1, 2) LT_OWT_1_8(X, 3, 2, 1) LT_OWT_1_4(X, 3, 2, 2)       \
  LT_OWT_1_8(X, 5, 1, 1) LT_OWT_1_4(X, 5, 1, 2) LT_OWT_1_8(X, 5, 2, 1) LT_OWT_1_4(X, 5, 2, 2)

#define LT_DW_VARIANTS_avx512(X) LT_DW_32_REGISTERS(X)
/* Wider ones need more addresses than there are registers for. */
#define LT_DW_VARIANTS_neon(X) LT_DW_16_REGISTERS(X)
#define LT_DW_VARIANTS_avx2(X) LT_DW_16_REGISTERS(X)
#define LT_DW_VARIANTS_scalar(X) LT_OWT_1_4(X, 3, 1, 1) LT_OWT_1_4(X, 3, 2, 1)

#endif
