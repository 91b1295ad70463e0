/* The table of operators that Python and the executor read. */
#include "luthier/lt_ops.h"

#define FIELD_P(name) "P:" #name " "
#define FIELD_I(name) "I:" #name " "
#define FIELD_D(name) "D:" #name " "

/* LT_KEEP(option, x) is x, or 0 if `option` is a macro that is 1: programs of one model are compiled with
 * -DLT_WITHOUT_OP_lstm=1 and the like. LT_HOLE_1 brings the 0 forward by a comma; LT_HOLE_ANYTHING is a word like any
 * other. */
#define LT_HOLE_1 0,
#define LT_SECOND(first, second, ...) second
#define LT_CHOOSE(hole, x) LT_SECOND(hole 0, x, 0)
#define LT_PASTE(value, x) LT_CHOOSE(LT_HOLE_##value, x)
#define LT_KEEP(option, x) LT_PASTE(option, x)

const lt_op lt_op_table[] = {
#define LT_ENTRY(lower, UPPER)                                                                                  \
  {#lower, LT_KEEP(LT_WITHOUT_OP_##lower, lt_##lower##_run), LT_KEEP(LT_WITHOUT_OP_##lower, lt_##lower##_work), \
   LT_OP_##UPPER(FIELD_P, FIELD_I, FIELD_D)},
    LT_OPS(LT_ENTRY)};

const int lt_op_count = sizeof lt_op_table / sizeof *lt_op_table;
