/* The table of operators that Python and the executor read. */
#include "keep.h"
#include "luthier/lt_ops.h"

#define FIELD_P(name) "P:" #name " "
#define FIELD_I(name) "I:" #name " "
#define FIELD_D(name) "D:" #name " "

const lt_op lt_op_table[] = {
#define LT_ENTRY(lower, UPPER)                                                                                  \
  {#lower, LT_KEEP(LT_WITHOUT_OP_##lower, lt_##lower##_run), LT_KEEP(LT_WITHOUT_OP_##lower, lt_##lower##_work), \
   LT_OP_##UPPER(FIELD_P, FIELD_I, FIELD_D)},
    LT_OPS(LT_ENTRY)};

const int lt_op_count = sizeof lt_op_table / sizeof *lt_op_table;
