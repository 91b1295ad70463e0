#define LT_SIMD_AVX512
#include "requant.h"

#undef LT_ISA_NAME
#define LT_ISA_NAME avx512vnni
#define LT_QSIZE 1
#define Q_DOT(acc, a, b) _mm512_dpbusd_epi32(acc, a, b)
#include "qdot_x86.h"
#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
