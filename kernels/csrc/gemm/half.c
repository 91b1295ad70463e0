#include "half.h"

#include <string.h>

#include "../cpu/cpu.h"
#include "../cpu/num.h"
#include "luthier/lt_ops.h"

void lt_half_copy_avx512bf16(uint16_t *dst, const float *src, int64_t count);
void lt_half_copy_neonfp16(uint16_t *dst, const float *src, int64_t count);
void lt_half_copy_neonbf16(uint16_t *dst, const float *src, int64_t count);

static const lt_half formats[LT_ISA_ALL] = {
    [LT_ISA_AVX512BF16] = {.is_bf16 = 1, .inner = 2, .group = 2},
    [LT_ISA_NEONFP16] = {.is_bf16 = 0, .inner = 1, .group = 2},
    [LT_ISA_NEONBF16] = {.is_bf16 = 1, .inner = 4, .group = 4},
};

static const lt_half_copy_fn copies[LT_ISA_ALL] = {
    [LT_ISA_AVX512BF16] = LT_IF_AVX512BF16(lt_half_copy_avx512bf16),
    [LT_ISA_NEONFP16] = LT_IF_NEONFP16(lt_half_copy_neonfp16),
    [LT_ISA_NEONBF16] = LT_IF_NEONBF16(lt_half_copy_neonbf16),
};

const lt_half *lt_half_of(int64_t isa) {
  return isa >= 0 && isa < LT_ISA_ALL && formats[isa].group ? &formats[isa] : 0;
}

int64_t lt_half_words(const lt_half *half, int64_t k) { return round_up(k, half->group) / 2; }

void lt_half_copy(int64_t isa, uint16_t *dst, const float *src, int64_t count) { copies[isa](dst, src, count); }

void lt_half_row(int64_t isa, void *dst, int64_t words, const float *src, int64_t count) {
  uint16_t *halves = dst;
  copies[isa](halves, src, count);
  memset(halves + count, 0, (size_t)(2 * words - count) * sizeof *halves);
}

static uint16_t to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Exponents are moved by multiplications, which round as fp16 does (after F. Giesen, "float->half variants", 2012). */
static uint16_t to_fp16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x1ff));
  if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 */
  if (size < 0x38800000) {                                  /* below 2^-14: in units of 2^-24 */
    float tiny;
    memcpy(&tiny, &size, sizeof tiny);
    tiny += 0.5f;
    memcpy(&bits, &tiny, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000));
  }
  return (uint16_t)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
}

void lt_half_pack_panel(const lt_half *half, void *dst, const float *src, int64_t k, int64_t n, int64_t ks, int64_t ns,
                        int64_t nr, int64_t lanes, int64_t panel) {
  const int64_t n0 = panel * nr, cols = min64(nr, n - n0), width = round_up(cols, lanes);
  const int64_t padded = 2 * lt_half_words(half, k), inner = half->inner;
  uint16_t *to = (uint16_t *)dst + n0 * padded;
  memset(to, 0, (size_t)(width * padded) * sizeof *to);
  for (int64_t i = 0; i < k; i++) {
    uint16_t *row = to + i / inner * width * inner + i % inner;
    const float *from = src + i * ks + n0 * ns;
    if (half->is_bf16) {
      for (int64_t j = 0; j < cols; j++) row[j * inner] = to_bf16(from[j * ns]);
    } else {
      for (int64_t j = 0; j < cols; j++) row[j * inner] = to_fp16(from[j * ns]);
    }
  }
}
