/* The SIMD vocabulary: `#define LT_SIMD_<ISA>` chooses the header; all of them give the same names.
 *
 *   vf, LT_VL                   a vector of LT_VL floats
 *   vf_load, vf_store           unaligned; vf_load_n, vf_store_n touch only the first n lanes (0 <= n <= LT_VL;
 *                               the other lanes read as 0)
 *   vf_set1, vf_zero
 *   vf_add, vf_sub, vf_mul, vf_div, vf_fma(a, b, c) = a b + c, vf_sqrt, vf_neg, vf_abs
 *   vf_min, vf_max              a NaN in the second argument is returned; one in the first may be lost
 *   vf_round (to even), vf_floor, vf_ceil
 *   vm; vf_lt, vf_le, vf_eq; vf_blend(m, a, b) = m ? a : b
 *   vf_pow2(n)                  2^n for integral n in [-126, 127]
 *   vf_scale2(x, n)             x 2^n for integral n in [-252, 254]
 *   vf_pow2_of(t)               2^n for t = LT_POW2_BIAS + n, n integral in [-126, 127]: adding and subtracting the
 * bias rounds a number to such an n on the way vf_quotient(a, b)           a / b for normal b, 1 / b and a / b, within
 * 2 units in the last place vf_exponent, vf_mantissa    x = mantissa 2^exponent with 1 <= mantissa < 2, for normal x >
 * 0 vf_hsum, vf_hmax, vf_hmin   across the lanes va, LT_AK                   LT_AK consecutive k of one row of A, as
 * GEMM bodies want them: va_load(p); vf_fma_lane(b, a, i, c) = b a[i] + c (i a constant after unrolling)
 */
#ifndef LT_SIMD_H
#define LT_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LT_INLINE static inline __attribute__((always_inline, unused))

#if defined(LT_SIMD_AVX512)
#include "simd_avx512.h"
#elif defined(LT_SIMD_AVX2)
#include "simd_avx2.h"
#elif defined(LT_SIMD_NEON)
#include "simd_neon.h"
#elif defined(LT_SIMD_SCALAR)
#include "simd_scalar.h"
#else
#error "define LT_SIMD_<ISA> before simd.h"
#endif

/* The last bits of a float of this size count ones, and hold the biased exponent of 2^0. */
#define LT_POW2_BIAS (0x1.8p23f + 127.0f)

#define LT_CAT_(a, b) a##b
#define LT_CAT(a, b) LT_CAT_(a, b)
/* The name of a function in this ISA: LT_FN(foo) is foo_avx2 in an AVX2 file. */
#define LT_FN(name) LT_CAT(LT_CAT(name, _), LT_ISA_NAME)

#endif
