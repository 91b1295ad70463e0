/* The transposing copy of elements of 4 bytes or one: square by square in registers; a few columns of them
 * interleaved. */
#include "simd/simd.h"
#include "tensor/copy.h"

/* Lane l of the two results of exchanging, at distance s, between vectors a (lanes 0..) and b (lanes LT_VL..). */
#define LOW(l, s) ((l) & (s) ? LT_VL + (l) - (s) : (l))
#define HIGH(l, s) ((l) & (s) ? LT_VL + (l) : (l) + (s))
#define LANES4(F, l, s) F(l, s), F((l) + 1, s), F((l) + 2, s), F((l) + 3, s)
#if LT_VL == 4
#define LANES(F, s) LANES4(F, 0, s)
#elif LT_VL == 8
#define LANES(F, s) LANES4(F, 0, s), LANES4(F, 4, s)
#else
#define LANES(F, s) LANES4(F, 0, s), LANES4(F, 4, s), LANES4(F, 8, s), LANES4(F, 12, s)
#endif

#if defined(__clang__)
#define SHUFFLE(a, b, F, s) __builtin_shufflevector(a, b, LANES(F, s))
#else
typedef int32_t lane_index __attribute__((vector_size(4 * LT_VL)));
#define SHUFFLE(a, b, F, s) __builtin_shuffle(a, b, (lane_index){LANES(F, s)})
#endif

#define EXCHANGE(s)                                                          \
  _Pragma("GCC unroll 16") for (int i = 0; i < LT_VL; i++) if (!(i & (s))) { \
    const vf a = v[i], b = v[i + (s)];                                       \
    v[i] = SHUFFLE(a, b, LOW, s);                                            \
    v[i + (s)] = SHUFFLE(a, b, HIGH, s);                                     \
  }

/* Transpose a square of LT_VL vectors: in step s, squares of s by s beside the diagonal change places. */
LT_INLINE void transpose_square(vf v[LT_VL]){EXCHANGE(1) EXCHANGE(2)
#if LT_VL >= 8
                                                 EXCHANGE(4)
#endif
#if LT_VL >= 16
                                                     EXCHANGE(8)
#endif
}

/* y[r][c] = x[c][r] for r < rows, c < cols, both at most LT_VL. */
LT_INLINE void copy_square(const float *x, float *y, int64_t x_step, int64_t y_step, int64_t rows, int64_t cols) {
  vf v[LT_VL];
#pragma GCC unroll 16
  for (int c = 0; c < LT_VL; c++) v[c] = c < cols ? vf_load_n(x + c * x_step, rows) : vf_zero();
  transpose_square(v);
#pragma GCC unroll 16
  for (int r = 0; r < LT_VL; r++)
    if (r < rows) vf_store_n(y + r * y_step, v[r], cols);
}

void LT_FN(lt_copy_transpose)(void *context, int64_t begin, int64_t end) {
  const lt_copy_job *job = context;
  const int64_t x_step = job->nest.stride[LT_COPY_X][job->nest.rank - 1];
  const int64_t y_step = job->nest.stride[LT_COPY_Y][job->nest.rank - 2];
  for (int64_t unit = begin; unit < end; unit++) {
    const lt_copy_block block = lt_copy_find_block(job, unit);
    const float *x = (const float *)job->x + block.x;
    float *y = (float *)job->y + block.y;
    for (int64_t c = 0; c < block.cols; c += LT_VL)
      for (int64_t r = 0; r < block.rows; r += LT_VL) {
        const int64_t rows = block.rows - r, cols = block.cols - c;
        const float *from = x + c * x_step + r;
        float *to = y + r * y_step + c;
        if (rows >= LT_VL && cols >= LT_VL)
          copy_square(from, to, x_step, y_step, LT_VL, LT_VL);
        else
          copy_square(from, to, x_step, y_step, rows < LT_VL ? rows : LT_VL, cols < LT_VL ? cols : LT_VL);
      }
  }
}

/* Squares of LT_COPY_BYTES by LT_COPY_BYTES bytes, in vectors that every instruction set has. */
typedef uint8_t copy_bytes __attribute__((vector_size(LT_COPY_BYTES)));

#define ZIP(first) first, (first) + 16, (first) + 1, (first) + 17, (first) + 2, (first) + 18, (first) + 3, (first) + 19
#if defined(__clang__)
#define SHUFFLE_BYTES(a, b, first) __builtin_shufflevector(a, b, ZIP(first), ZIP((first) + 4))
#else
#define SHUFFLE_BYTES(a, b, first) __builtin_shuffle(a, b, (copy_bytes){ZIP(first), ZIP((first) + 4)})
#endif

/* y[r][c] = x[c][r] for r, c < LT_COPY_BYTES. Each step zips vectors of both halves: the highest bit of the number of a
 * vector becomes the lowest bit of the lane, and the highest bit of the lane the lowest of the vector. */
LT_INLINE void copy_byte_square(const uint8_t *x, uint8_t *y, int64_t x_step, int64_t y_step) {
  copy_bytes v[2][LT_COPY_BYTES];
#pragma GCC unroll 16
  for (int c = 0; c < LT_COPY_BYTES; c++) memcpy(&v[0][c], x + c * x_step, LT_COPY_BYTES);
#pragma GCC unroll 4
  for (int step = 0; step < 4; step++) {
    const copy_bytes *from = v[step % 2];
    copy_bytes *to = v[(step + 1) % 2];
#pragma GCC unroll 8
    for (int i = 0; i < LT_COPY_BYTES / 2; i++) {
      to[2 * i] = SHUFFLE_BYTES(from[i], from[i + LT_COPY_BYTES / 2], 0);
      to[2 * i + 1] = SHUFFLE_BYTES(from[i], from[i + LT_COPY_BYTES / 2], 8);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < LT_COPY_BYTES; r++) memcpy(y + r * y_step, &v[0][r], LT_COPY_BYTES);
}

/* Where a square begins that would reach beyond `size`: it covers a part of the one before once more. */
LT_INLINE int64_t square_at(int64_t i, int64_t size) { return i + LT_COPY_BYTES <= size ? i : size - LT_COPY_BYTES; }

void LT_FN(lt_copy_transpose_bytes)(void *context, int64_t begin, int64_t end) {
  const lt_copy_job *job = context;
  const int64_t x_step = job->nest.stride[LT_COPY_X][job->nest.rank - 1];
  const int64_t y_step = job->nest.stride[LT_COPY_Y][job->nest.rank - 2];
  for (int64_t unit = begin; unit < end; unit++) {
    const lt_copy_block block = lt_copy_find_block(job, unit);
    const uint8_t *x = (const uint8_t *)job->x + block.x;
    uint8_t *y = (uint8_t *)job->y + block.y;
    if (block.rows < LT_COPY_BYTES || block.cols < LT_COPY_BYTES) {
      for (int64_t c = 0; c < block.cols; c++)
        for (int64_t r = 0; r < block.rows; r++) y[r * y_step + c] = x[c * x_step + r];
      continue;
    }
    for (int64_t i = 0; i < block.rows; i += LT_COPY_BYTES)
      for (int64_t j = 0; j < block.cols; j += LT_COPY_BYTES) {
        const int64_t r = square_at(i, block.rows), c = square_at(j, block.cols);
        copy_byte_square(x + c * x_step + r, y + r * y_step + c, x_step, y_step);
      }
  }
}

/* y[r][c] = x[c][r] where y has all its N columns dense: the compiler interleaves vectors. */
LT_INLINE void interleave(const float *restrict x, float *restrict y, int64_t x_step, int64_t rows, const int N) {
  for (int64_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
    for (int c = 0; c < N; c++) y[r * N + c] = x[c * x_step + r];
  }
}

LT_INLINE void interleave_bytes(const uint8_t *restrict x, uint8_t *restrict y, int64_t x_step, int64_t rows,
                                const int N) {
  for (int64_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
    for (int c = 0; c < N; c++) y[r * N + c] = x[c * x_step + r];
  }
}

void LT_FN(lt_copy_interleave)(void *context, int64_t begin, int64_t end) {
  const lt_copy_job *job = context;
  const int64_t x_step = job->nest.stride[LT_COPY_X][job->nest.rank - 1];
  for (int64_t unit = begin; unit < end; unit++) {
    const lt_copy_block block = lt_copy_find_block(job, unit);
    if (job->size == 1) {
      const uint8_t *x = (const uint8_t *)job->x + block.x;
      uint8_t *y = (uint8_t *)job->y + block.y;
      switch (block.cols) {
        case 2: interleave_bytes(x, y, x_step, block.rows, 2); break;
        case 3: interleave_bytes(x, y, x_step, block.rows, 3); break;
        default: interleave_bytes(x, y, x_step, block.rows, 4); break;
      }
      continue;
    }
    const float *x = (const float *)job->x + block.x;
    float *y = (float *)job->y + block.y;
    switch (block.cols) {
      case 2: interleave(x, y, x_step, block.rows, 2); break;
      case 3: interleave(x, y, x_step, block.rows, 3); break;
      default: interleave(x, y, x_step, block.rows, 4); break;
    }
  }
}

#undef LOW
#undef HIGH
#undef LANES4
#undef LANES
#undef SHUFFLE
#undef EXCHANGE
#undef ZIP
#undef SHUFFLE_BYTES
