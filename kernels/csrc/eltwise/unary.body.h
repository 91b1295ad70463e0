/* y = act(op(x)) over a contiguous run. */
#include "simd/simd_math.h"

/* An operation without a vector form, lane by lane. */
LT_INLINE vf each_lane(vf x, float (*fn)(float)) {
  float lane[LT_VL];
  vf_store(lane, x);
  for (int i = 0; i < LT_VL; i++) lane[i] = fn(lane[i]);
  return vf_load(lane);
}

LT_INLINE vf unary_vector(vf x, int64_t op) {
  switch (op) {
    case LT_UNARY_NEG: return vf_neg(x);
    case LT_UNARY_ABS: return vf_abs(x);
    case LT_UNARY_SQRT: return vf_sqrt(x);
    case LT_UNARY_RECIPROCAL: return vf_div(vf_set1(1.0f), x);
    case LT_UNARY_EXP: return vf_exp(x);
    case LT_UNARY_LOG: return vf_log(x);
    case LT_UNARY_ERF: return vf_erf(x);
    case LT_UNARY_FLOOR: return vf_floor(x);
    case LT_UNARY_CEIL: return vf_ceil(x);
    case LT_UNARY_ROUND: return vf_round(x);
    case LT_UNARY_SOFTPLUS: return vf_add(vf_max(vf_zero(), x), vf_log1p(vf_exp(vf_neg(vf_abs(x)))));
    case LT_UNARY_SIN: return each_lane(x, sinf);
    case LT_UNARY_COS: return each_lane(x, cosf);
    default: return x;
  }
}

/* `op` and `act` are constants wherever this is inlined, so that the switches vanish. */
LT_INLINE void unary_run(const lt_unary_args *args, int64_t begin, int64_t end, int64_t op, int64_t act) {
  const float *x = (const float *)args->x;
  float *y = (float *)args->y;
  const float alpha = (float)args->alpha, beta = (float)args->beta;
  int64_t i = begin;
#pragma GCC unroll 4
  for (; i + LT_VL <= end; i += LT_VL) vf_store(y + i, vf_act(unary_vector(vf_load(x + i), op), act, alpha, beta));
  if (i < end) {
    vf v = vf_load_n(x + i, end - i);
    vf_store_n(y + i, vf_act(unary_vector(v, op), act, alpha, beta), end - i);
  }
}

void LT_FN(lt_unary)(void *context, int64_t begin, int64_t end) {
  const lt_unary_args *args = context;
  if (args->op == LT_UNARY_IDENTITY) {
#define CASE(act) \
  case act: unary_run(args, begin, end, LT_UNARY_IDENTITY, act); break
    switch (args->act) {
      CASE(LT_ACT_NONE);
      CASE(LT_ACT_RELU);
      CASE(LT_ACT_CLIP);
      CASE(LT_ACT_HARD_SIGMOID);
      CASE(LT_ACT_HARD_SWISH);
      CASE(LT_ACT_SIGMOID);
      CASE(LT_ACT_SILU);
      CASE(LT_ACT_TANH);
      CASE(LT_ACT_GELU);
      CASE(LT_ACT_LEAKY_RELU);
    }
#undef CASE
  } else if (args->act == LT_ACT_NONE) {
#define CASE(op) \
  case op: unary_run(args, begin, end, op, LT_ACT_NONE); break
    switch (args->op) {
      CASE(LT_UNARY_NEG);
      CASE(LT_UNARY_ABS);
      CASE(LT_UNARY_SQRT);
      CASE(LT_UNARY_RECIPROCAL);
      CASE(LT_UNARY_EXP);
      CASE(LT_UNARY_LOG);
      CASE(LT_UNARY_ERF);
      CASE(LT_UNARY_FLOOR);
      CASE(LT_UNARY_CEIL);
      CASE(LT_UNARY_ROUND);
      CASE(LT_UNARY_SOFTPLUS);
      CASE(LT_UNARY_SIN);
      CASE(LT_UNARY_COS);
    }
#undef CASE
  } else {
    unary_run(args, begin, end, args->op, args->act);
  }
}
