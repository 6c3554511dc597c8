/* Kernel numbers and layouts that build hosts may lack, and the few calls that Swift cannot make. A line may stand here only
 * for one of these reasons: a constant of a newer kernel, a macro, a variadic function, a call without a libc wrapper. */
#ifndef CLINUX_H
#define CLINUX_H

#include <stddef.h>
#include <stdint.h>

#endif
