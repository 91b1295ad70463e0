/* IEEE binary16 as bits, one element at a time, rounding to nearest even. */
#ifndef LT_HALF_H
#define LT_HALF_H

#include <stdint.h>
#include <string.h>

static inline float lt_half_to_float(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7fff;
  uint32_t bits;
  float f;
  if (magnitude < 0x0400) { /* a denormal is a multiple of 2^-24 */
    f = (float)magnitude * 0x1p-24f;
    memcpy(&bits, &f, sizeof bits);
  } else if (magnitude < 0x7c00) {
    bits = (magnitude << 13) + ((127 - 15) << 23);
  } else { /* infinity, or a NaN made quiet */
    bits = 0x7f800000 | (magnitude & 0x3ff) << 13 | (magnitude > 0x7c00 ? 0x400000 : 0);
  }
  bits |= sign;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint16_t lt_float_to_half(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return sign | 0x7e00 | (uint16_t)(bits >> 13 & 0x3ff);
  if (bits >= 0x47800000) return sign | 0x7c00; /* 65536 and more */
  if (bits < 0x38800000) {                      /* below 2^-14: adding 0.5 rounds to a multiple of 2^-24 */
    float magnitude;
    memcpy(&magnitude, &bits, sizeof magnitude);
    magnitude += 0.5f;
    memcpy(&bits, &magnitude, sizeof bits);
    return sign | (uint16_t)(bits - 0x3f000000);
  }
  bits += 0xfff + (bits >> 13 & 1); /* may carry into the exponent, and to infinity */
  return sign | (uint16_t)((bits >> 13) - ((127 - 15) << 10));
}

/* A double as the float that rounds to the same half: odd where inexact, so that no tie is made (round to odd). */
static inline float lt_double_to_odd_float(double d) {
  float f = (float)d;
  if ((double)f == d || f != f) return f;
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if (!(bits & 1)) bits += (f < 0 ? -(double)f : (double)f) > (d < 0 ? -d : d) ? UINT32_MAX : 1;
  memcpy(&f, &bits, sizeof f);
  return f;
}

#endif
