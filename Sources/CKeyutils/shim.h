/* libkeyutils: keyctl(2) and add_key(2). */
#ifndef CKEYUTILS_SHIM_H
#define CKEYUTILS_SHIM_H

#include <keyutils.h>

#endif
