/* How far an operator reaches from its pointers, for callers that did not fill the arguments themselves. */
#ifndef LT_REACH_H
#define LT_REACH_H

#include <stdint.h>

#include "luthier/lt_ops.h"

/* Slots of an operator, at most. */
#define LT_MAX_SLOTS 64

enum lt_access {
  LT_UNTOUCHED = 0,
  LT_READS,
  LT_WRITES,
  LT_CHECKS /* reads, checks what is there, and then relies on it: nothing that is written may overlap it */
};

/* Bytes [begin, end) from a pointer on; begin is not positive. */
typedef struct {
  int64_t access, begin, end;
} lt_reach;

/* Fill reach[slot] of every pointer but `work` (which has lt_op.work) of operator `op` of lt_op_table: bounds that a
 * call with these arguments keeps, or its run refuses them. Pointers are not followed. LT_BAD_ARGUMENT: sizes are
 * negative or too large, or something is written over and over; LT_BAD_VARIANT: it is not known of this operator. */
int lt_op_reach(int64_t op, const void *args, lt_reach reach[LT_MAX_SLOTS]);

#endif
