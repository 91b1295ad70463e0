#define LT_SIMD_AVX2
#include "requant.h"

#define LT_QSIZE 2
#define Q_DOT(acc, a, b) _mm256_add_epi32(acc, _mm256_madd_epi16(a, b))
#include "qdot_x86.h"
#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
