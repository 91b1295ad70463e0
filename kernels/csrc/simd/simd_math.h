/* exp, log, tanh, erf, sigmoid, NaN-keeping max and min over vf, and the activations; include after simd.h.
 *
 * exp, log: range reduction and minimax polynomials after Cephes (Moshier), about 2 units in the last place.
 */
#ifndef LT_SIMD_MATH_H
#define LT_SIMD_MATH_H

#include "luthier/lt_ops.h"

/* e^x for x in [-87.33, 88.72]; NaN stays NaN. */
LT_INLINE vf vf_exp_inside(vf c) {
  vf n = vf_round(vf_mul(c, vf_set1(1.44269504088896341f)));
  vf r = vf_fma(n, vf_set1(-0.693359375f), c);
  r = vf_fma(n, vf_set1(2.12194440e-4f), r);
  vf p = vf_set1(1.9875691500e-4f);
  p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
  p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
  p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
  p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
  p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
  p = vf_add(vf_fma(p, vf_mul(r, r), r), vf_set1(1.0f));
  return vf_scale2(p, n);
}

/* e^x; +inf above 88.72, 0 below -87.33; NaN stays NaN. */
LT_INLINE vf vf_exp(vf x) {
  const vf hi = vf_set1(88.7228317f), lo = vf_set1(-87.3365447504019f);
  vf p = vf_exp_inside(vf_min(hi, vf_max(lo, x)));
  p = vf_blend(vf_lt(hi, x), vf_set1(INFINITY), p);
  return vf_blend(vf_lt(x, lo), vf_zero(), p);
}

/* Natural logarithm; -inf at 0, NaN below, denormals included. */
LT_INLINE vf vf_log(vf x) {
  const vf zero = vf_zero(), one = vf_set1(1.0f), half = vf_set1(0.5f);
  vm tiny = vf_lt(x, vf_set1(1.17549435e-38f));
  vf s = vf_blend(tiny, vf_mul(x, vf_set1(8388608.0f)), x);
  vf e = vf_sub(vf_exponent(s), vf_blend(tiny, vf_set1(23.0f), zero));
  vf m = vf_mantissa(s);
  vm high = vf_lt(vf_set1(1.41421356f), m);
  m = vf_sub(vf_blend(high, vf_mul(m, half), m), one);
  e = vf_add(e, vf_blend(high, one, zero));
  vf p = vf_set1(7.0376836292e-2f);
  p = vf_fma(p, m, vf_set1(-1.1514610310e-1f));
  p = vf_fma(p, m, vf_set1(1.1676998740e-1f));
  p = vf_fma(p, m, vf_set1(-1.2420140846e-1f));
  p = vf_fma(p, m, vf_set1(1.4249322787e-1f));
  p = vf_fma(p, m, vf_set1(-1.6668057665e-1f));
  p = vf_fma(p, m, vf_set1(2.0000714765e-1f));
  p = vf_fma(p, m, vf_set1(-2.4999993993e-1f));
  p = vf_fma(p, m, vf_set1(3.3333331174e-1f));
  vf z = vf_mul(m, m);
  p = vf_fma(e, vf_set1(-2.12194440e-4f), vf_mul(vf_mul(p, m), z));
  vf r = vf_fma(e, vf_set1(0.693359375f), vf_add(m, vf_sub(p, vf_mul(half, z))));
  r = vf_blend(vf_lt(x, vf_set1(INFINITY)), r, x); /* +inf and NaN stay */
  r = vf_blend(vf_eq(x, zero), vf_set1(-INFINITY), r);
  return vf_blend(vf_lt(x, zero), vf_set1(NAN), r);
}

/* log(1 + t) for t >= 0 with the rounding of 1 + t made good. */
LT_INLINE vf vf_log1p(vf t) {
  vf u = vf_add(vf_set1(1.0f), t);
  return vf_add(vf_log(u), vf_div(vf_sub(t, vf_sub(u, vf_set1(1.0f))), u));
}

/* As NumPy's maximum and minimum: NaN if either is NaN. */
LT_INLINE vf vf_nanmax(vf a, vf b) { return vf_blend(vf_eq(a, a), vf_max(a, b), a); }
LT_INLINE vf vf_nanmin(vf a, vf b) { return vf_blend(vf_eq(a, a), vf_min(a, b), a); }

/* Up to here neither e^x nor 1 / (1 + e^x) leaves the normal numbers. */
#define LT_EXP_RANGE 87.33f

/* 1 + e^-x for x >= -LT_EXP_RANGE, taken as LT_EXP_RANGE above that. The minimax polynomial of degree five adds
 * 1.6 units in the last place to the power, and one instruction less than degree six to every epilogue. */
LT_INLINE vf vf_one_plus_exp_neg(vf x) {
  const vf bias = vf_set1(LT_POW2_BIAS), one = vf_set1(1.0f);
  const vf c = vf_min(vf_set1(LT_EXP_RANGE), x);
  const vf t = vf_fma(c, vf_set1(-1.44269504088896341f), bias), n = vf_sub(t, bias);
  vf r = vf_fma(n, vf_set1(0.693359375f), c);
  r = vf_fma(n, vf_set1(-2.12194440e-4f), r);
  vf p = vf_set1(-8.290305733680725e-3f);
  p = vf_fma(p, r, vf_set1(4.18979749083519e-2f));
  p = vf_fma(p, r, vf_set1(-1.666763722896576e-1f));
  p = vf_fma(p, r, vf_set1(4.999915063381195e-1f));
  p = vf_fma(p, r, vf_set1(-9.999997019767761e-1f));
  p = vf_fma(p, r, one);
  return vf_fma(p, vf_pow2_of(t), one);
}

/* 1 / (1 + e^-x), and x times it; below -LT_EXP_RANGE as there, which is 0 but for a denormal. */
LT_INLINE vf vf_sigmoid(vf x) {
  return vf_quotient(vf_set1(1.0f), vf_one_plus_exp_neg(vf_max(vf_set1(-LT_EXP_RANGE), x)));
}
LT_INLINE vf vf_silu(vf x) {
  const vf c = vf_max(vf_set1(-LT_EXP_RANGE), x);
  return vf_quotient(c, vf_one_plus_exp_neg(c));
}

/* tanh by 1 - 2 / (e^2x + 1), and by its odd series near 0, where that form cancels. */
LT_INLINE vf vf_tanh(vf x) {
  vf big = vf_sub(vf_set1(1.0f), vf_div(vf_set1(2.0f), vf_add(vf_exp(vf_add(x, x)), vf_set1(1.0f))));
  vf s = vf_mul(x, x);
  vf p = vf_set1(-5.70498872745e-3f);
  p = vf_fma(p, s, vf_set1(2.06390887954e-2f));
  p = vf_fma(p, s, vf_set1(-5.37397155531e-2f));
  p = vf_fma(p, s, vf_set1(1.33314422036e-1f));
  p = vf_fma(p, s, vf_set1(-3.33332819422e-1f));
  vf small = vf_fma(vf_mul(p, s), x, x);
  return vf_blend(vf_lt(vf_abs(x), vf_set1(0.625f)), small, big);
}

/* erf: Abramowitz and Stegun 7.1.26 refined is too coarse near 0, hence the Maclaurin series there. */
LT_INLINE vf vf_erf(vf x) {
  vf a = vf_abs(x), s = vf_mul(x, x);
  vf q = vf_set1(-1.0f / 9360.0f);
  q = vf_fma(q, s, vf_set1(1.0f / 1320.0f));
  q = vf_fma(q, s, vf_set1(-1.0f / 216.0f));
  q = vf_fma(q, s, vf_set1(1.0f / 42.0f));
  q = vf_fma(q, s, vf_set1(-1.0f / 10.0f));
  q = vf_fma(q, s, vf_set1(1.0f / 3.0f));
  q = vf_mul(vf_set1(1.1283791670955126f), vf_sub(x, vf_mul(vf_mul(q, s), x)));
  vf t = vf_div(vf_set1(1.0f), vf_fma(vf_set1(0.3275911f), a, vf_set1(1.0f)));
  vf p = vf_set1(1.061405429f);
  p = vf_fma(p, t, vf_set1(-1.453152027f));
  p = vf_fma(p, t, vf_set1(1.421413741f));
  p = vf_fma(p, t, vf_set1(-0.284496736f));
  p = vf_fma(p, t, vf_set1(0.254829592f));
  vf r = vf_sub(vf_set1(1.0f), vf_mul(vf_mul(p, t), vf_exp(vf_neg(s))));
  r = vf_blend(vf_lt(x, vf_zero()), vf_neg(r), r);
  return vf_blend(vf_lt(a, vf_set1(0.5f)), q, r);
}

/* One activation over a vector; `act` is loop-invariant, so the switch is predicted. */
LT_INLINE vf vf_act(vf x, int64_t act, float alpha, float beta) {
  const vf zero = vf_zero(), one = vf_set1(1.0f);
  switch (act) {
    case LT_ACT_RELU: return vf_max(zero, x);
    case LT_ACT_CLIP: return vf_min(vf_set1(beta), vf_max(vf_set1(alpha), x));
    case LT_ACT_HARD_SIGMOID: return vf_min(one, vf_max(zero, vf_fma(x, vf_set1(alpha), vf_set1(beta))));
    case LT_ACT_HARD_SWISH: return vf_mul(x, vf_min(one, vf_max(zero, vf_fma(x, vf_set1(1.0f / 6.0f), vf_set1(0.5f)))));
    case LT_ACT_SIGMOID: return vf_sigmoid(x);
    case LT_ACT_SILU: return vf_silu(x);
    case LT_ACT_TANH: return vf_tanh(x);
    case LT_ACT_GELU:
      return vf_mul(vf_mul(vf_set1(0.5f), x), vf_add(one, vf_erf(vf_mul(x, vf_set1(0.70710678118654752f)))));
    case LT_ACT_LEAKY_RELU: return vf_blend(vf_lt(x, zero), vf_mul(x, vf_set1(alpha)), x);
    default: return x;
  }
}

#endif
