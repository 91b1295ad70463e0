#define LT_SIMD_AVX2
#include "simd/simd.h"

#include "tensor/copy.body.h"
#include "tensor/resize_linear.body.h"
