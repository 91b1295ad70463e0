/* The micro-kernel on bytes, and the pieces of blocking that qgemm and qconv2d share.
 *
 * Sums are of a (w - w_zero), in a group of some k at a time; packed weights hold w - w_zero, so that a zero of A costs
 * one product with the sum of each column, which lies in front of its panel. All sums wrap: they are exact modulo 2^32.
 */
#ifndef LT_QGEMM_H
#define LT_QGEMM_H

#include <stdint.h>

#include "luthier/lt_ops.h"

#define LT_QGEMM_MAX_MR 14
#define LT_QGEMM_MAX_NV 4

/* How an instruction set wants its operands. A vector of columns has `lanes`. For each group of `group` k, packed
 * weights hold [group / inner][lanes][inner] elements of `size` bytes. A has elements of `size` bytes as well: of 2,
 * copied from the bytes that were given; of 1, `sign` says whether it is multiplied as signed or unsigned bytes (others
 * are flipped in registers). */
typedef struct {
  int64_t lanes, group, inner, size, sign;
} lt_qformat;

/* The formats by enum lt_isa: known for all, as weights are packed for CPUs other than this one as well. */
#define LT_QFORMATS(X)          \
  X(scalar, 4, 2, 2, 2, 1)      \
  X(avx2, 8, 2, 2, 2, 1)        \
  X(avx512, 16, 2, 2, 2, 1)     \
  X(neon, 4, 2, 1, 2, 1)        \
  X(avxvnni, 8, 4, 4, 1, 0)     \
  X(avx512vnni, 16, 4, 4, 1, 0) \
  X(neonmull, 4, 4, 2, 1, 1)    \
  X(neondot, 4, 4, 4, 1, 1)     \
  X(neoni8mm, 4, 8, 8, 1, 1)

/* The format of an instruction set; null if there is no such one. */
const lt_qformat *lt_qformat_of(int64_t isa);

/* The epilogue of one call (see LT_QUANT_FIELDS), columns from the first. */
typedef struct {
  int64_t a_type, y_type;
  int32_t a_zero, y_zero, y_min;
  float low, high; /* of a byte, without its zero */
  int64_t r_first;
  float y_ratio, r_ratio, sum_offset, sum_high;
  int32_t sum_min;
  float a_scale;
  const int32_t *bias;
  const float *scale, *fbias;
  const uint8_t *table;
} lt_qend;

/* One tile. Rows of A are lda bytes apart and begin at seg[s] + offset; B is one packed panel, consecutive over the
 * segments, each padded to whole groups of k. */
typedef struct {
  const uint8_t *const *seg;
  int64_t offset, lda, nseg;
  int64_t groups, tail_bytes; /* of A in a segment: whole groups, and bytes of a last one that is not whole */
  const uint8_t *b;
  int32_t zero;            /* of A, as the kernel multiplies it */
  const int32_t *bias;     /* null for none */
  const float *scale;      /* null: c gets the sums as int32 */
  const lt_qend *end;      /* of the call; its pointers are not used */
  const uint8_t *residual; /* null for none */
  int64_t ldr;
  void *c;
  int64_t ldc;  /* elements */
  int64_t tail; /* valid lanes of the last vector, 1 to LT_VL */
} lt_qtile;

typedef void (*lt_qgemm_fn)(const lt_qtile *tile);

/* The micro-kernel of mr rows and nv vectors, or null; flip: A's bytes have the other signedness than the format. */
lt_qgemm_fn lt_qgemm_kernel(int64_t isa, int64_t mr, int64_t nv, int64_t flip);

/* Finish rows x cols of C in place: sums to floats, or bytes by the table. scale and fbias are those of the first
 * column. */
typedef void (*lt_qpost_fn)(const lt_qend *end, void *c, int64_t ldc, int64_t rows, int64_t cols);

/* Everything that the blocks of one product share. */
typedef struct {
  int64_t isa, mr, nv, flip;
  const lt_qformat *format;
  lt_qend end;
  int64_t n;        /* columns */
  int64_t nseg;     /* segments of K */
  int64_t run;      /* k in a segment */
  const uint8_t *w; /* packed panels */
} lt_qrhs;

/* Rows of A and C for lt_qgemm_block; the K of a row is complete. */
typedef struct {
  const uint8_t *const *seg; /* rhs.nseg of them, where the rows begin */
  int64_t lda;               /* bytes */
  int64_t padded;            /* whether A may be read to the end of the last group of a segment */
  int64_t rows;
  uint8_t *c;
  int64_t ldc; /* elements */
  const uint8_t *residual;
  int64_t ldr;
} lt_qrows;

/* Columns [n0, n1) (n0 a multiple of the panel width) of `rows`, panel by panel, tile by tile. */
void lt_qgemm_block(const lt_qrhs *rhs, const lt_qrows *rows, int64_t n0, int64_t n1);

/* Bytes of an element of an output: y_type is LT_U8, LT_I8, LT_I32 or LT_F32, else 0. */
int64_t lt_qsize(int64_t y_type);

/* Bytes of a row of `run` k in A's copied form. */
int64_t lt_qrow_bytes(const lt_qformat *format, int64_t run);

/* Copy `count` bytes of A to dst as elements of the format. */
void lt_qcopy_row(const lt_qformat *format, int64_t a_type, void *dst, const uint8_t *src, int64_t count);

/* The same with one value. */
void lt_qfill_row(const lt_qformat *format, void *dst, int64_t value, int64_t count);

/* Bytes of the packed form of nseg runs of k and n columns. */
int64_t lt_qpacked_size(const lt_qformat *format, int64_t nseg, int64_t run, int64_t n);

/* How the K of a convolution with `icg` channels a group is packed: nseg runs of `run` k. */
void lt_qconv2d_runs(const lt_qconv2d_args *c, int64_t icg, int64_t *nseg, int64_t *run);

/* Fill `rhs` but for w, n, nseg and run from slots that both operators have; `fields` is an lt_qgemm_args or an
 * lt_qconv2d_args. */
#define LT_QRHS_PREPARE(rhs, fields)                                                                               \
  lt_qrhs_prepare(rhs, &(lt_qslots){(fields)->isa,     (fields)->mr,       (fields)->nv,      (fields)->a_type,    \
                                    (fields)->a_zero,  (fields)->y_type,   (fields)->y_zero,  (fields)->y_min,     \
                                    (fields)->y_max,   (fields)->r_zero,   (fields)->r_first, (fields)->sum_zero,  \
                                    (fields)->sum_min, (fields)->sum_max,  (fields)->y_ratio, (fields)->r_ratio,   \
                                    (fields)->bias,    (fields)->scale,    (fields)->fbias,   (fields)->a_zero_at, \
                                    (fields)->a_scale, (fields)->residual, (fields)->table})

typedef struct {
  int64_t isa, mr, nv, a_type, a_zero, y_type, y_zero, y_min, y_max, r_zero, r_first, sum_zero, sum_min, sum_max;
  double y_ratio, r_ratio;
  const void *bias, *scale, *fbias, *a_zero_at, *a_scale, *residual, *table;
} lt_qslots;

/* Returns a status; as for lt_rhs_prepare, lt_qrhs_check tells whether there is such a kernel here. */
int lt_qrhs_prepare(lt_qrhs *rhs, const lt_qslots *slots);
int lt_qrhs_check(const lt_qrhs *rhs);

#endif
