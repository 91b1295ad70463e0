#define LT_SIMD_AVX2
#include "requant.h"

#undef LT_ISA_NAME
#define LT_ISA_NAME avxvnni
#define LT_QSIZE 1
#define Q_DOT(acc, a, b) _mm256_dpbusd_epi32(acc, a, b)
#include "qdot_x86.h"
#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
