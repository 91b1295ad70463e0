/* Weights of four bits become floats in registers. A block is summed on its own and scaled once. */
#include "quant/nbits.h"
#include "quant/requant.h"
#include "simd/simd.h"

#define LT_NBITS_VECTORS (LT_NBITS_COLS / LT_VL)

/* The i-th values of a vector of words; i is a constant after unrolling. */
LT_INLINE vf nbits_value(vi words, int i) {
#if defined(LT_SIMD_AVX512) /* a table of 16 floats looks at the low four bits alone */
  const vf table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  return _mm512_permutexvar_ps(i ? _mm512_srli_epi32(words, 4 * i) : words, table);
#elif defined(LT_SIMD_AVX2)
  return vf_from_vi(_mm256_srai_epi32(_mm256_slli_epi32(words, 28 - 4 * i), 28));
#else
  typedef int32_t ints __attribute__((vector_size(16)));
  return vf_from_vi((vi)((ints)(words << (28 - 4 * i)) >> 28));
#endif
}

LT_INLINE void nbits_tile(const lt_nbits_tile *t, const int MR) {
  /* Sums of a block are chained this often, so that few rows do not wait for one another. */
  const int CHAINS = MR * LT_NBITS_VECTORS < 4 ? 4 / (MR * LT_NBITS_VECTORS) : 1;
  const lt_nbits_panel *p = &t->panel;
  const int64_t words = p->block / LT_NBITS_K, blocks = (p->k + p->block - 1) / p->block, lda = t->lda;
  const uint32_t *w = p->w;
  const float *a = t->a;
  vf total[LT_NBITS_MAX_ROWS][LT_NBITS_VECTORS];
#pragma GCC unroll 4
  for (int m = 0; m < MR; m++) {
#pragma GCC unroll 4
    for (int j = 0; j < LT_NBITS_VECTORS; j++) total[m][j] = vf_zero();
  }
  for (int64_t b = 0, left = p->k / LT_NBITS_K; b < blocks; b++, left -= words) {
    vf acc[LT_NBITS_MAX_ROWS][LT_NBITS_VECTORS][4];
#pragma GCC unroll 4
    for (int m = 0; m < MR; m++) {
#pragma GCC unroll 4
      for (int j = 0; j < LT_NBITS_VECTORS; j++) {
#pragma GCC unroll 4
        for (int i = 0; i < CHAINS; i++) acc[m][j][i] = vf_zero();
      }
    }
    for (int64_t g = left < words ? left : words; g > 0; g--, w += LT_NBITS_COLS, a += LT_NBITS_K) {
      vi bits[LT_NBITS_VECTORS];
#pragma GCC unroll 4
      for (int j = 0; j < LT_NBITS_VECTORS; j++) bits[j] = vi_load((const int32_t *)w + j * LT_VL);
#pragma GCC unroll 8
      for (int i = 0; i < LT_NBITS_K; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < LT_NBITS_VECTORS; j++) {
          const vf v = nbits_value(bits[j], i);
#pragma GCC unroll 4
          for (int m = 0; m < MR; m++)
            acc[m][j][i % CHAINS] = vf_fma(v, vf_set1(a[m * lda + i]), acc[m][j][i % CHAINS]);
        }
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < LT_NBITS_VECTORS; j++) {
      const vf scale = vf_load(p->scale + b * LT_NBITS_COLS + j * LT_VL);
#pragma GCC unroll 4
      for (int m = 0; m < MR; m++) {
        vf sum = acc[m][j][0];
#pragma GCC unroll 4
        for (int i = 1; i < CHAINS; i++) sum = vf_add(sum, acc[m][j][i]);
        if (p->zero) {
          const vf zero = vf_load(p->zero + b * LT_NBITS_COLS + j * LT_VL);
          sum = vf_sub(sum, vf_mul(zero, vf_set1(t->sums[m * blocks + b])));
        }
        total[m][j] = vf_fma(sum, scale, total[m][j]);
      }
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < LT_NBITS_VECTORS; j++) {
    const int64_t cols = t->cols - j * LT_VL, lanes = cols < 0 ? 0 : cols < LT_VL ? cols : LT_VL;
    const vf bias = t->bias ? vf_load_n(t->bias + j * LT_VL, lanes) : vf_zero();
#pragma GCC unroll 4
    for (int m = 0; m < MR; m++) vf_store_n(t->c + m * t->ldc + j * LT_VL, vf_add(total[m][j], bias), lanes);
  }
}

static void nbits_tile_1(const lt_nbits_tile *t) { nbits_tile(t, 1); }
static void nbits_tile_2(const lt_nbits_tile *t) { nbits_tile(t, 2); }
static void nbits_tile_3(const lt_nbits_tile *t) { nbits_tile(t, 3); }
static void nbits_tile_4(const lt_nbits_tile *t) { nbits_tile(t, 4); }

static void nbits_unpack(const lt_nbits_panel *p, int64_t column, int64_t k0, int64_t k1, float *dst, int64_t stride) {
  for (int64_t k = k0; k < k1;) {
    const int64_t b = k / p->block, end = k1 < (b + 1) * p->block ? k1 : (b + 1) * p->block;
    const vf scale = vf_load(p->scale + b * LT_NBITS_COLS + column);
    const vf zero = p->zero ? vf_load(p->zero + b * LT_NBITS_COLS + column) : vf_zero();
    for (; k < end; k += LT_NBITS_K) {
      const vi words = vi_load((const int32_t *)p->w + k / LT_NBITS_K * LT_NBITS_COLS + column);
#pragma GCC unroll 8
      for (int i = 0; i < LT_NBITS_K; i++, dst += stride)
        vf_store(dst, vf_mul(vf_sub(nbits_value(words, i), zero), scale));
    }
  }
}

static float nbits_sum(const float *x, int64_t n) {
  vf sum = vf_zero();
  int64_t i = 0;
  for (; i + LT_VL <= n; i += LT_VL) sum = vf_add(sum, vf_load(x + i));
  if (i < n) sum = vf_add(sum, vf_load_n(x + i, n - i));
  return vf_hsum(sum);
}

const lt_nbits_kernels LT_FN(lt_nbits) = {
    {nbits_tile_1, nbits_tile_2, nbits_tile_3, nbits_tile_4}, nbits_unpack, nbits_sum};
