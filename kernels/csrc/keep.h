/* Programs of one model leave out what it does not call: they are compiled with -DLT_WITHOUT_OP_lstm=1 for an operator,
 * -DLT_WITHOUT_GEMM_<NV>_<KU>=1 and -DLT_WITHOUT_DW_<KW>_<S>_<CV>=1 for register tiles, of any height. */
#ifndef LT_KEEP_H
#define LT_KEEP_H

/* LT_KEEP(option, x) is x, or 0 if `option` is a macro that is 1. LT_HOLE_1 brings the 0 forward by a comma;
 * LT_HOLE_ANYTHING is a word like any other. */
#define LT_HOLE_1 0,
#define LT_SECOND(first, second, ...) second
#define LT_CHOOSE(hole, x) LT_SECOND(hole 0, x, 0)
#define LT_PASTE(value, x) LT_CHOOSE(LT_HOLE_##value, x)
#define LT_KEEP(option, x) LT_PASTE(option, x)

#endif
