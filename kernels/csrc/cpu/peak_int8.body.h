/* Products of q_dot on registers almost alone: what its units can do. */
#ifndef LT_PEAK_INT8_BODY_H
#define LT_PEAK_INT8_BODY_H

#define LT_PEAK_ROWS 3
#define LT_PEAK_COLUMNS 4

/* As lt_peak_fn, for integers; data has 1024 bytes. Vectors of B are read anew in each round, or a compiler would
 * multiply but once. */
int64_t LT_FN(lt_int8_peak)(int64_t rounds, uint8_t *data) {
  vi acc[LT_PEAK_ROWS][LT_PEAK_COLUMNS], sum = vi_set1(0);
  qa a[LT_PEAK_ROWS];
#pragma GCC unroll 3
  for (int m = 0; m < LT_PEAK_ROWS; m++) {
    a[m] = qa_lane(qa_group(lt_load_bytes(data + m, 8), 0), 0);
#pragma GCC unroll 4
    for (int j = 0; j < LT_PEAK_COLUMNS; j++) acc[m][j] = vi_set1(m + j);
  }
  for (int64_t r = 0; r < rounds; r++) {
    const uint8_t *b = data + (r & 1) * 512;
#pragma GCC unroll 4
    for (int j = 0; j < LT_PEAK_COLUMNS; j++) {
      const vb v = vb_load(b + j * 64);
#pragma GCC unroll 3
      for (int m = 0; m < LT_PEAK_ROWS; m++) acc[m][j] = q_dot(acc[m][j], a[m], 0, v);
    }
  }
#pragma GCC unroll 3
  for (int m = 0; m < LT_PEAK_ROWS; m++) {
#pragma GCC unroll 4
    for (int j = 0; j < LT_PEAK_COLUMNS; j++) sum = vi_add(sum, acc[m][j]);
  }
  vi_store((int32_t *)data, sum);
  return rounds * LT_PEAK_ROWS * LT_PEAK_COLUMNS * LT_VL * (LT_QK / LT_QSIZE) * 2;
}

#endif
