/* The operators: every C operator of luthier with its argument fields.
 *
 * A field is one 8-byte slot: P pointer, I int64_t, D double. Distances (ld*) are in elements.
 * Python reads the same list as text (see lt_op_table) and fills the slots by name.
 */
#ifndef LT_OPS_H
#define LT_OPS_H

#include <stdint.h>

enum lt_status {
  LT_OK = 0,
  LT_BAD_ARGUMENT = 1,    /* a field is out of its range */
  LT_BAD_VARIANT = 2,     /* no such variant on this CPU */
  LT_NO_WORKSPACE = 3,    /* scratch needed but `work` is null */
  LT_BAD_INDEX = 4        /* an index among the data is out of its range */
};

/* Activations that every epilogue knows. alpha and beta as in the table of architecture.md. */
enum lt_act {
  LT_ACT_NONE = 0,
  LT_ACT_RELU,
  LT_ACT_CLIP,         /* min(max(x, alpha), beta) */
  LT_ACT_HARD_SIGMOID, /* min(max(alpha x + beta, 0), 1) */
  LT_ACT_HARD_SWISH,   /* x hard_sigmoid(x; 1/6, 1/2) */
  LT_ACT_SIGMOID,
  LT_ACT_SILU, /* x sigmoid(x) */
  LT_ACT_TANH,
  LT_ACT_GELU,       /* x (1 + erf(x / sqrt 2)) / 2 */
  LT_ACT_LEAKY_RELU, /* x < 0 ? alpha x : x */
  LT_ACT_COUNT
};

/* y[b] = act(a[b] w[b] + bias + residual[b]); a: (m, k) rows lda apart; w packed by panels (w_packed = 1) or
 * plain with strides (w_ks, w_ns), packed into `work` at run time. Batch strides stride_*; a null bias or
 * residual is left out. Config: variant mr x nv vectors, blocks mc, nc, kc; pack_a copies rows first;
 * strassen = 1: seven half-size products of packed weights in their seven parts. */
#define LT_OP_GEMM(P, I, D)                                                                        \
  P(a) P(w) P(bias) P(residual) P(y) P(work)                                                       \
  I(batch) I(m) I(n) I(k) I(lda) I(ldy) I(ldr) I(stride_a) I(stride_w) I(stride_y) I(stride_r)     \
  I(w_packed) I(w_ks) I(w_ns)                                                                      \
  I(act) D(alpha) D(beta)                                                                          \
  I(isa) I(mr) I(nv) I(ku) I(mc) I(nc) I(kc) I(pack_a) I(strassen) I(prefetch)          \
  I(split_n) I(threads)

/* NHWC convolution; w packed by panels per group, rows (kh, kw, ic). algo: enum lt_conv_algo. */
#define LT_OP_CONV2D(P, I, D)                                                                      \
  P(x) P(w) P(bias) P(residual) P(y) P(work)                                                       \
  I(n) I(ih) I(iw) I(ic) I(oh) I(ow) I(oc) I(kh) I(kw) I(sh) I(sw) I(pt) I(pl) I(dh) I(dw)         \
  I(groups) I(ldx) I(ldy) I(ldr)                                                                   \
  I(act) D(alpha) D(beta)                                                                          \
  I(algo) I(isa) I(mr) I(nv) I(ku) I(mc) I(nc) I(kc) I(prefetch) I(split_n) I(threads)

/* NHWC depthwise convolution, channel multiplier 1; w: (kh, kw, c). */
#define LT_OP_DEPTHWISE_CONV2D(P, I, D)                                                            \
  P(x) P(w) P(bias) P(residual) P(y) P(work)                                                       \
  I(n) I(ih) I(iw) I(c) I(oh) I(ow) I(kh) I(kw) I(sh) I(sw) I(pt) I(pl) I(dh) I(dw)                \
  I(ldx) I(ldy) I(ldr)                                                                             \
  I(act) D(alpha) D(beta)                                                                          \
  I(isa) I(special) I(owt) I(cv) I(cb) I(threads)

/* NHWC pooling. mode 0 max, 1 average over the window inside the image, 2 average, padding counted. Of type LT_F32, or
 * bytes of LT_U8 or LT_I8; their averages are those of ONNX Runtime's QLinearAveragePool: terms x_scale (x - x_zero) are
 * added in float, row by row; y = clamp(round(mean / y_scale + y_zero)). */
#define LT_OP_POOL2D(P, I, D)                                                                      \
  P(x) P(y) P(work)                                                                                \
  I(mode) I(n) I(ih) I(iw) I(c) I(oh) I(ow) I(kh) I(kw) I(sh) I(sw) I(pt) I(pl) I(pb) I(pr)        \
  I(dh) I(dw) I(ldx) I(ldy)                                                                        \
  I(type) D(x_scale) I(x_zero) D(y_scale) I(y_zero) I(isa) I(threads)

/* Stages, each of which reads what the one before it writes, `rows` output rows of the last one at a time; rows 0: each
 * stage as a whole, on its own threads. `stages` is an array of slots: for each of `count` stages its kind (enum
 * lt_stage) and its arguments as for whole maps, without x, y, work and the last one's residual. */
#define LT_OP_CHAIN(P, I, D) P(x) P(y) P(residual) P(stages) P(work) I(count) I(rows) I(threads)

/* y = act(op(x)), n elements, contiguous float. `op`: enum lt_unary_op. */
#define LT_OP_UNARY(P, I, D)                                                                       \
  P(x) P(y) I(op) I(n) I(act) D(alpha) D(beta) I(isa) I(threads)

/* y = act(op(a, b)) with broadcasting: rank dims d0..d5 (outermost first, unused ones 1), strides of a and b in
 * elements (0 = broadcast); y is contiguous, float, or uint8 where op compares. `op`: enum lt_binary_op. */
#define LT_OP_BINARY(P, I, D)                                                                      \
  P(a) P(b) P(y) I(op)                                                                             \
  I(d0) I(d1) I(d2) I(d3) I(d4) I(d5)                                                              \
  I(a0) I(a1) I(a2) I(a3) I(a4) I(a5)                                                              \
  I(b0) I(b1) I(b2) I(b3) I(b4) I(b5)                                                              \
  I(act) D(alpha) D(beta) I(isa) I(threads)

/* y = x as a strided copy of `size`-byte elements (1, 2, 4, 8): dims d0..d5, strides of x and y in elements. Covers
 * transpose, slice, concat, expand, space-to-depth. A negative stride walks backwards. */
#define LT_OP_COPY(P, I, D)                                                                        \
  P(x) P(y) I(size)                                                                                \
  I(d0) I(d1) I(d2) I(d3) I(d4) I(d5)                                                              \
  I(x0) I(x1) I(x2) I(x3) I(x4) I(x5)                                                              \
  I(y0) I(y1) I(y2) I(y3) I(y4) I(y5)                                                              \
  I(isa) I(threads)

/* y[o, i, r] = index[i] < 0 ? fill : x[o, index[i], r], elements of `size` bytes: outer x count x inner. `index` is an
 * int64 array; fill a double or an int64 bit pattern cast to the element. Gather with constant indices, every Pad mode, nearest
 * Resize. Slices o of y are y_step elements apart, 0 if dense. */
#define LT_OP_TAKE(P, I, D)                                                                        \
  P(x) P(index) P(y) I(size) I(outer) I(x_count) I(y_count) I(inner) I(y_step) I(fill) I(isa)      \
  I(threads)

/* y[o, i, r] = x[o, index[i], r], elements of `size` bytes; indices of index_size 4 or 8 bytes in [-x_count, x_count),
 * negative ones from the end, checked before anything is written. */
#define LT_OP_GATHER(P, I, D)                                                                      \
  P(x) P(index) P(y) I(size) I(index_size) I(outer) I(x_count) I(y_count) I(inner) I(threads)

/* y[o, i] = reduce over r of x[o, r, i]. `op`: enum lt_reduce_op. */
#define LT_OP_REDUCE(P, I, D)                                                                      \
  P(x) P(y) P(work) I(op) I(outer) I(count) I(inner) I(isa) I(threads)

/* y[o, :, i] = softmax of x[o, :, i] over count. */
#define LT_OP_SOFTMAX(P, I, D) P(x) P(y) I(outer) I(count) I(inner) I(log) I(isa) I(threads)

/* y[o, :] = (x[o, :] - mean) / sqrt(variance + epsilon) * scale + bias over count contiguous elements. */
#define LT_OP_LAYER_NORM(P, I, D)                                                                  \
  P(x) P(scale) P(bias) P(y) I(outer) I(count) D(epsilon) I(isa) I(threads)

/* y[r, c] = x[r, c] / (bias + alpha / window * sum of x[r, i]^2)^beta over the channels i from c - (window - 1) / 2 to
 * c + window / 2 that there are; rows ldx and ldy apart. */
#define LT_OP_LRN(P, I, D)                                                                         \
  P(x) P(y) I(rows) I(count) I(ldx) I(ldy) I(window) D(alpha) D(beta) D(bias) I(isa) I(threads)

/* y = x converted between element types (enum lt_dtype), n elements, contiguous. */
#define LT_OP_CAST(P, I, D) P(x) P(y) I(from) I(to) I(n) I(isa) I(threads)

/* y[i] = c[i] ? a[i] : b[i] with broadcasting by strides, as in BINARY; c is uint8, a, b and y have `size` bytes. */
#define LT_OP_WHERE(P, I, D)                                                                       \
  P(c) P(a) P(b) P(y) I(size)                                                                      \
  I(d0) I(d1) I(d2) I(d3) I(d4) I(d5)                                                              \
  I(c0) I(c1) I(c2) I(c3) I(c4) I(c5)                                                              \
  I(a0) I(a1) I(a2) I(a3) I(a4) I(a5)                                                              \
  I(b0) I(b1) I(b2) I(b3) I(b4) I(b5)                                                              \
  I(threads)

/* NHWC resize with bilinear weights; src_h/src_w etc. come as precomputed tables: for each output row two input rows
 * (index_h, 2 x oh int64) and their weights (weight_h, 2 x oh float); the same for columns. */
#define LT_OP_RESIZE_LINEAR(P, I, D)                                                               \
  P(x) P(y) P(index_h) P(weight_h) P(index_w) P(weight_w)                                          \
  I(n) I(ih) I(iw) I(c) I(oh) I(ow) I(isa) I(threads)

/* One direction of an LSTM (ONNX's default activations): per step, gates = x[step] + h w, in the order input, output,
 * forget, cell; x: (steps, batch, 4 hidden), the product of input and weights plus both biases; w: (hidden, 4 hidden)
 * packed by panels; h0, c0: (batch, hidden), null for zeros. y gets h of each step, steps ldy apart, h and c the last
 * ones, (batch, hidden). The first step is the last one of x if `reverse`. */
#define LT_OP_LSTM(P, I, D)                                                                        \
  P(x) P(w) P(h0) P(c0) P(y) P(h) P(c) P(work)                                                     \
  I(steps) I(batch) I(hidden) I(ldy) I(reverse)                                                    \
  I(isa) I(mr) I(nv) I(ku) I(prefetch) I(threads)

/* y = clamp(round(x / scale) + zero, y_min, y_max) of type LT_U8, LT_I8, LT_U16 or LT_I16 (four bits: bytes between narrow
 * bounds); NaN gives y_min. x: outer x count x inner floats; scale (float) and zero (int32, null for 0) have one entry, if
 * count and outer are 1; count entries; or, with block > 0, outer x ceil(count / block) x inner. */
#define LT_OP_QUANTIZE(P, I, D)                                                                    \
  P(x) P(scale) P(zero) P(y) I(outer) I(count) I(inner) I(block)                                   \
  I(type) I(y_min) I(y_max) I(isa) I(threads)

/* y = (x - zero) scale, float; x of one of the types above or LT_I32, scale and zero as above. */
#define LT_OP_DEQUANTIZE(P, I, D)                                                                  \
  P(x) P(scale) P(zero) P(y) I(outer) I(count) I(inner) I(block) I(type) I(isa) I(threads)

/* y (uint8), scale (float) and zero (uint8) of ONNX's DynamicQuantizeLinear: the range of x and 0 becomes 0 to 255. */
#define LT_OP_DYNAMIC_QUANTIZE(P, I, D) P(x) P(y) P(scale) P(zero) P(work) I(n) I(isa) I(threads)

/* y = op(a, b) on bytes of one type, LT_U8 or LT_I8, with broadcasting as in BINARY. op LT_BINARY_ADD: the sum of sum.h;
 * an operand that stays put in the innermost loop where the other moves goes second. LT_BINARY_MUL:
 * clamp(round((a - a_zero)(b - b_zero) ratio + y_zero)) with ratio = a_scale b_scale / y_scale, in float. */
#define LT_OP_QBINARY(P, I, D)                                                                     \
  P(a) P(b) P(y) I(op) I(type)                                                                     \
  I(d0) I(d1) I(d2) I(d3) I(d4) I(d5)                                                              \
  I(a0) I(a1) I(a2) I(a3) I(a4) I(a5)                                                              \
  I(b0) I(b1) I(b2) I(b3) I(b4) I(b5)                                                              \
  D(a_scale) D(b_scale) D(y_scale) I(a_zero) I(b_zero) I(y_zero) I(y_min) I(y_max)                 \
  I(isa) I(threads)

/* y = table[x] on bytes, whatever they stand for: rows of `cols` bytes, ldx and ldy apart. */
#define LT_OP_LOOKUP(P, I, D) P(x) P(table) P(y) I(rows) I(cols) I(ldx) I(ldy) I(isa) I(threads)

/* y[o, i] = clamp(round(float(sum over r of (x[o, r, i] - x_zero)) scale) + y_zero), bytes of LT_U8 or LT_I8: the quantised
 * global average with scale = x_scale / (y_scale count). */
#define LT_OP_QMEAN(P, I, D)                                                                       \
  P(x) P(y) I(outer) I(count) I(inner) I(type) D(scale) I(x_zero) I(y_zero) I(isa) I(threads)

/* ONNX Runtime's QLinearSoftmax over rows of `count` bytes: e[i] = exps[255 - max + x[i]] with x as uint8 (LT_I8: x + 128),
 * y = saturate(round(e[i] factor / sum of e) + y_zero), in float, summed one by one. exps: 256 floats. */
#define LT_OP_QSOFTMAX(P, I, D)                                                                    \
  P(x) P(exps) P(y) I(outer) I(count) I(type) D(factor) I(y_zero) I(isa) I(threads)

/* The epilogue of qgemm and qconv2d, for a column n and acc = sum (a - a_zero)(w - w_zero) + bias[n], int32 (wrapping):
 *   y_type LT_I32   y = acc
 *   LT_F32          y = float(acc) s[n] + fbias[n], where s[n] is scale[n], times *a_scale unless that is null
 *   LT_U8, LT_I8    q = clamp(round(float(acc) scale[n]) + y_zero, y_min, y_max); then, if a residual r is there, the
 *                   quantised sum of r and q (r_first), or of q and r, with these ratios of their scales to the sum's
 *                   (vi_quantised_add of requant.h), clamped to sum_min, sum_max; then, if table is there,
 *                   y = table[that byte].
 * All floats are fp32, multiplied and added one by one but for the sum; rounding is to nearest even; scales are finite.
 * a_zero is *a_zero_at, of a's type, where that is not null. The residual has y's type. */
#define LT_QUANT_FIELDS(P, I, D)                                                                   \
  P(bias) P(scale) P(fbias) P(a_zero_at) P(a_scale) P(residual) P(table)                           \
  I(a_type) I(a_zero) I(y_type) I(y_zero) I(y_min) I(y_max)                                        \
  D(y_ratio) D(r_ratio) I(r_zero) I(r_first) I(sum_zero) I(sum_min) I(sum_max)

/* y[b] = epilogue(a[b] w[b]): as gemm, on bytes. w is packed (w_packed = 1: fields.pack_weights), or bytes of w_type
 * with strides, whose zero points w_zero (null: 0) are w_zero_ns apart, packed into `work` at run time. */
#define LT_OP_QGEMM(P, I, D)                                                                       \
  P(a) P(w) P(w_zero) P(y) P(work) LT_QUANT_FIELDS(P, I, D)                                        \
  I(batch) I(m) I(n) I(k) I(lda) I(ldy) I(ldr) I(stride_a) I(stride_w) I(stride_y) I(stride_r)     \
  I(w_packed) I(w_type) I(w_ks) I(w_ns) I(w_zero_ns)                                               \
  I(isa) I(mr) I(nv) I(mc) I(nc) I(pack_a) I(split_n) I(threads)

/* y = a w + bias in float, w of four bits: w[k, n] = scale[b, n] (q[k, n] - zero[b, n]), b = k / block, a multiple of 8; a null
 * zero is 8, a null bias is left out. w, scale and zero packed by luthier.kernels.nbits. k = 0: y is the bias, or 0. */
#define LT_OP_GEMM_NBITS(P, I, D)                                                                  \
  P(a) P(w) P(scale) P(zero) P(bias) P(y) P(work) I(m) I(n) I(k) I(block) I(lda) I(ldy)            \
  I(isa) I(threads)

/* NHWC convolution on bytes, with the epilogue above; padding counts as a_zero. w packed for `algo`. */
#define LT_OP_QCONV2D(P, I, D)                                                                     \
  P(x) P(w) P(y) P(work) LT_QUANT_FIELDS(P, I, D)                                                  \
  I(n) I(ih) I(iw) I(ic) I(oh) I(ow) I(oc) I(kh) I(kw) I(sh) I(sw) I(pt) I(pl) I(dh) I(dw)         \
  I(groups) I(ldx) I(ldy) I(ldr)                                                                   \
  I(algo) I(isa) I(mr) I(nv) I(mc) I(nc) I(split_n) I(threads)

/* NHWC depthwise convolution on bytes, channel multiplier 1, with the byte outputs of the epilogue above; padding counts as
 * a_zero. w is float (kh, kw, c), less its zero points; or packed for register tiles (`special`, see qdwconv.h). */
#define LT_OP_QDEPTHWISE_CONV2D(P, I, D)                                                           \
  P(x) P(w) P(y) P(work) LT_QUANT_FIELDS(P, I, D)                                                  \
  I(n) I(ih) I(iw) I(c) I(oh) I(ow) I(kh) I(kw) I(sh) I(sw) I(pt) I(pl) I(dh) I(dw)                \
  I(ldx) I(ldy) I(ldr)                                                                             \
  I(isa) I(special) I(owt) I(cb) I(threads)

#define LT_OPS(X)                                                                                  \
  X(gemm, GEMM)                                                                                    \
  X(conv2d, CONV2D)                                                                                \
  X(depthwise_conv2d, DEPTHWISE_CONV2D)                                                            \
  X(pool2d, POOL2D)                                                                                \
  X(chain, CHAIN)                                                                                  \
  X(unary, UNARY)                                                                                  \
  X(binary, BINARY)                                                                                \
  X(copy, COPY)                                                                                    \
  X(take, TAKE)                                                                                    \
  X(gather, GATHER)                                                                                \
  X(reduce, REDUCE)                                                                                \
  X(softmax, SOFTMAX)                                                                              \
  X(layer_norm, LAYER_NORM)                                                                        \
  X(lrn, LRN)                                                                                      \
  X(cast, CAST)                                                                                    \
  X(where, WHERE)                                                                                  \
  X(resize_linear, RESIZE_LINEAR)                                                                  \
  X(lstm, LSTM)                                                                                    \
  X(qdepthwise_conv2d, QDEPTHWISE_CONV2D)                                                          \
  X(quantize, QUANTIZE)                                                                            \
  X(dequantize, DEQUANTIZE)                                                                        \
  X(dynamic_quantize, DYNAMIC_QUANTIZE)                                                            \
  X(qbinary, QBINARY)                                                                              \
  X(lookup, LOOKUP)                                                                                \
  X(qmean, QMEAN)                                                                                  \
  X(qsoftmax, QSOFTMAX)                                                                            \
  X(qgemm, QGEMM)                                                                                  \
  X(gemm_nbits, GEMM_NBITS)                                                                        \
  X(qconv2d, QCONV2D)

#define LT_SLOT_P(name) _Alignas(8) void *name; /* the lower half of a slot where pointers are of 32 bits */
#define LT_SLOT_I(name) int64_t name;
#define LT_SLOT_D(name) double name;

#define LT_DECLARE(lower, UPPER)                                                                   \
  typedef struct { LT_OP_##UPPER(LT_SLOT_P, LT_SLOT_I, LT_SLOT_D) } lt_##lower##_args;             \
  int lt_##lower##_run(const void *args);                                                          \
  int64_t lt_##lower##_work(const void *args);
LT_OPS(LT_DECLARE)
#undef LT_DECLARE

enum lt_conv_algo {
  LT_CONV_POINTWISE = 0, /* 1x1, stride 1, no padding: one GEMM over all pixels */
  LT_CONV_IM2COL = 1,    /* rows packed lazily, a block of pixels at a time */
  LT_CONV_DIRECT = 2, /* rows of an output row read in place through segment offsets; padded copy if padding */
  /* 3x3, stride and dilation 1, by tiles of 2x2, 4x4, 6x6; w packed place by place (luthier.kernels.fields) */
  LT_CONV_WINOGRAD2 = 3,
  LT_CONV_WINOGRAD4 = 4,
  LT_CONV_WINOGRAD6 = 5,
  LT_CONV_STRASSEN = 6 /* pointwise by seven half-size products, see gemm/strassen.h */
};

/* Operators that can be stages of a chain. */
enum lt_stage { LT_STAGE_CONV2D = 0, LT_STAGE_DEPTHWISE_CONV2D, LT_STAGE_COUNT };

enum lt_unary_op {
  LT_UNARY_IDENTITY = 0, /* only the activation */
  LT_UNARY_NEG, LT_UNARY_ABS, LT_UNARY_SQRT, LT_UNARY_RECIPROCAL, LT_UNARY_EXP, LT_UNARY_LOG,
  LT_UNARY_ERF, LT_UNARY_FLOOR, LT_UNARY_CEIL, LT_UNARY_ROUND, LT_UNARY_SOFTPLUS, LT_UNARY_SIN,
  LT_UNARY_COS, LT_UNARY_COUNT
};

enum lt_binary_op {
  LT_BINARY_ADD = 0, LT_BINARY_SUB, LT_BINARY_MUL, LT_BINARY_DIV, LT_BINARY_MIN, LT_BINARY_MAX,
  LT_BINARY_POW, LT_BINARY_SQDIFF, LT_BINARY_EQUAL, LT_BINARY_LESS, LT_BINARY_GREATER, LT_BINARY_COUNT
};

enum lt_reduce_op {
  LT_REDUCE_SUM = 0, LT_REDUCE_MEAN, LT_REDUCE_MAX, LT_REDUCE_MIN, LT_REDUCE_PROD, LT_REDUCE_L1,
  LT_REDUCE_L2, LT_REDUCE_SUM_SQUARE, LT_REDUCE_COUNT
};

enum lt_dtype { LT_F32 = 0, LT_F16, LT_F64, LT_I8, LT_U8, LT_I16, LT_U16, LT_I32, LT_I64, LT_BOOL, LT_DTYPE_COUNT };

enum lt_isa {
  LT_ISA_SCALAR = 0,
  LT_ISA_AVX2 = 1,
  LT_ISA_AVX512 = 2,
  LT_ISA_NEON = 3,
  LT_ISA_COUNT = 4,
  /* Only qgemm and qconv2d know these. */
  LT_ISA_AVXVNNI = 4,
  LT_ISA_AVX512VNNI = 5,
  LT_ISA_NEONMULL = 6, /* armv8.0, by products of bytes; NEON there widens to 16 bits */
  LT_ISA_NEONDOT = 7,
  LT_ISA_NEONI8MM = 8,
  LT_INT8_ISA_COUNT = 9,
  /* Only gemm and conv2d know these: products of 16 bits, see gemm/half.h. */
  LT_ISA_AVX512BF16 = 9,
  LT_ISA_NEONFP16 = 10,
  LT_ISA_NEONBF16 = 11,
  LT_ISA_ALL = 12
};

typedef int (*lt_run_fn)(const void *args);
typedef int64_t (*lt_work_fn)(const void *args);

/* One entry an operator: what Python and the executor know of it. fields: "P:x I:n D:alpha ...". */
typedef struct {
  const char *name;
  lt_run_fn run;
  lt_work_fn work;
  const char *fields;
} lt_op;

extern const lt_op lt_op_table[];
extern const int lt_op_count;

#endif
