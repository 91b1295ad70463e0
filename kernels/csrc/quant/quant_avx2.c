#define LT_SIMD_AVX2
#include "simd/simd.h"

#include "quant/lookup.body.h"
#include "quant/nbits.body.h"
#include "quant/pool2d_bytes.body.h"
#include "quant/qbinary.body.h"
#include "quant/qdwconv.body.h"
#include "quant/qmean.body.h"
#include "quant/quantize.body.h"
