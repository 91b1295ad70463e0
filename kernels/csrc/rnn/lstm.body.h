/* The cell of an LSTM: c = f c + i tanh(g), h = o tanh(c). */
#include "rnn/lstm.h"
#include "simd/simd_math.h"

LT_INLINE void cell(const float *gates, int64_t hidden, float *h, float *c, int64_t lanes) {
  const vf i = vf_sigmoid(vf_load_n(gates, lanes)), o = vf_sigmoid(vf_load_n(gates + hidden, lanes));
  const vf f = vf_sigmoid(vf_load_n(gates + 2 * hidden, lanes)), g = vf_tanh(vf_load_n(gates + 3 * hidden, lanes));
  const vf state = vf_fma(f, vf_load_n(c, lanes), vf_mul(i, g));
  vf_store_n(c, state, lanes);
  vf_store_n(h, vf_mul(o, vf_tanh(state)), lanes);
}

/* Rows [begin, end) of the batch. */
void LT_FN(lt_lstm_cells)(void *context, int64_t begin, int64_t end) {
  const lt_lstm_step *s = context;
  const int64_t n = s->hidden;
  for (int64_t b = begin; b < end; b++) {
    const float *gates = s->gates + b * 4 * n;
    int64_t j = 0;
    for (; j + LT_VL <= n; j += LT_VL) cell(gates + j, n, s->h + b * n + j, s->c + b * n + j, LT_VL);
    if (j < n) cell(gates + j, n, s->h + b * n + j, s->c + b * n + j, n - j);
  }
}
