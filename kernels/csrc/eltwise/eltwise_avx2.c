#define LT_SIMD_AVX2
#include "simd/simd.h"

#include "eltwise/binary.body.h"
#include "eltwise/half.body.h"
#include "eltwise/layer_norm.body.h"
#include "eltwise/lrn.body.h"
#include "eltwise/reduce.body.h"
#include "eltwise/softmax.body.h"
#include "eltwise/unary.body.h"
