/* What the driver of QBINARY hands to its bodies. */
#ifndef LT_QBINARY_H
#define LT_QBINARY_H

#include "tensor/nest.h"

enum { LT_QBINARY_A, LT_QBINARY_B, LT_QBINARY_Y }; /* the arrays of the nest */

typedef struct {
  lt_nest nest;
  int add, is_signed;
  const uint8_t *a, *b;
  uint8_t *y;
  int32_t a_zero, b_zero;         /* of a product */
  float a_ratio, b_ratio, offset; /* of a sum; a product has its ratio in a_ratio and y_zero in offset */
  float lo, hi;
} lt_qbinary_job;

#endif
