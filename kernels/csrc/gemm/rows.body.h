/* Functions over rows of floats that drivers need beside the micro-kernel. */
#ifndef LT_ROWS_BODY_H
#define LT_ROWS_BODY_H

void LT_FN(lt_sum_rows)(float *y, const float *a, const float *b, float sign, int64_t rows, int64_t cols, int64_t ldy,
                        int64_t lda, int64_t ldb) {
  const vf s = vf_set1(sign);
  for (int64_t r = 0; r < rows; r++, y += ldy, a += lda, b += ldb) {
    int64_t j = 0;
    for (; j + LT_VL <= cols; j += LT_VL) vf_store(y + j, vf_fma(s, vf_load(b + j), vf_load(a + j)));
    if (j < cols) vf_store_n(y + j, vf_fma(s, vf_load_n(b + j, cols - j), vf_load_n(a + j, cols - j)), cols - j);
  }
}

/* `act` is a constant. */
LT_INLINE void lt_act_run(float *c, int64_t rows, int64_t cols, int64_t ldc, int64_t act, float alpha, float beta) {
  for (int64_t r = 0; r < rows; r++, c += ldc) {
    int64_t j = 0;
#pragma GCC unroll 2
    for (; j + LT_VL <= cols; j += LT_VL) vf_store(c + j, vf_act(vf_load(c + j), act, alpha, beta));
    if (j < cols) vf_store_n(c + j, vf_act(vf_load_n(c + j, cols - j), act, alpha, beta), cols - j);
  }
}

void LT_FN(lt_act_rows)(float *c, int64_t rows, int64_t cols, int64_t ldc, int64_t act, float alpha, float beta) {
#define CASE(act) \
  case act: lt_act_run(c, rows, cols, ldc, act, alpha, beta); break
  switch (act) {
    CASE(LT_ACT_HARD_SIGMOID);
    CASE(LT_ACT_HARD_SWISH);
    CASE(LT_ACT_SIGMOID);
    CASE(LT_ACT_SILU);
    CASE(LT_ACT_TANH);
    CASE(LT_ACT_GELU);
    CASE(LT_ACT_LEAKY_RELU);
  }
#undef CASE
}

#endif
