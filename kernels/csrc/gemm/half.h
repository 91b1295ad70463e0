/* Products of 16-bit floats ("halves"), bf16 or fp16, accumulated in float32.
 *
 * Operands in memory stay float32: A is rounded when it is copied, weights when they are packed. Halves come in words
 * of two, each as large as a float, so that blocks of words are cut, packed and multiplied as those of floats are.
 * Rounding is to nearest even; NaN and infinities stay. Denormals may count as zero, and what fp16 cannot hold (65520
 * and beyond) becomes an infinity. */
#ifndef LT_HALF_H
#define LT_HALF_H

#include <stdint.h>

/* How an instruction set wants its operands: packed weights are [k / inner][columns][inner], k padded with zeros to a
 * multiple of `group`, an even number. */
typedef struct {
  int64_t is_bf16, inner, group;
} lt_half;

/* The format of an instruction set, known for all CPUs; null if its products are not of halves. */
const lt_half *lt_half_of(int64_t isa);

/* Words that hold k halves, padded. */
int64_t lt_half_words(const lt_half *half, int64_t k);

/* Round `count` floats. */
typedef void (*lt_half_copy_fn)(uint16_t *dst, const float *src, int64_t count);
void lt_half_copy(int64_t isa, uint16_t *dst, const float *src, int64_t count);

/* A row of `words` words: `count` floats rounded, then zeros. */
void lt_half_row(int64_t isa, void *dst, int64_t words, const float *src, int64_t count);

/* As lt_pack_panels of gemm.h, k counting halves. */
void lt_half_pack_panel(const lt_half *half, void *dst, const float *src, int64_t k, int64_t n, int64_t ks, int64_t ns,
                        int64_t nr, int64_t lanes, int64_t panel);

#endif
