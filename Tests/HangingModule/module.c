/* SoftHSM2 behind a PKCS#11 module of the tests' own: while the file named by HANG_ONCE or HANG_ALWAYS exists, C_Sign
 * never returns. The former is removed by the call that hangs. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST functions;
static CK_C_Sign sign;

static int is_told(const char *variable) {
    const char *path = getenv(variable);
    return path != NULL && access(path, F_OK) == 0;
}

static CK_RV hanging_sign(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG length, CK_BYTE_PTR signature,
                          CK_ULONG_PTR signature_length) {
    if (is_told("HANG_ALWAYS") || (is_told("HANG_ONCE") && unlink(getenv("HANG_ONCE")) == 0))
        for (;;)
            pause();
    return sign(session, data, length, signature, signature_length);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list) {
    CK_FUNCTION_LIST_PTR real;
    void *module = dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = module == NULL ? NULL : (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList");
    if (get == NULL || get(&real) != CKR_OK)
        return CKR_GENERAL_ERROR;
    functions = *real;
    functions.C_GetFunctionList = C_GetFunctionList;
    sign = real->C_Sign;
    functions.C_Sign = hanging_sign;
    *list = &functions;
    return CKR_OK;
}
