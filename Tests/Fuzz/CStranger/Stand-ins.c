/* Definitions that take the place of those in the C library and in GnuTLS, in the programs that link this target. */
#include "CStranger.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <linux/tls.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    unsigned char info[CSTRANGER_INFO_SIZE];
    size_t size;
    int count;
} installed[2];

/* Each thread has numbers of its own, so that those of the worker do not depend on the order of threads. */
static _Thread_local uint64_t state;

void cstranger_begin(uint64_t seed) {
    state = seed;
    memset(installed, 0, sizeof installed);
}

int cstranger_installed(int receive) { return installed[receive != 0].count; }

size_t cstranger_info(int receive, unsigned char *info) {
    memcpy(info, installed[receive != 0].info, CSTRANGER_INFO_SIZE);
    return installed[receive != 0].size;
}

/* SplitMix64. */
int gnutls_rnd(gnutls_rnd_level_t level, void *data, size_t count) {
    unsigned char *bytes = data;
    (void)level;
    for (size_t index = 0; index < count; index++) {
        if (index % 8 == 0)
            state += 0x9E3779B97F4A7C15;
        uint64_t mixed = state;
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9;
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB;
        bytes[index] = (unsigned char)((mixed ^ mixed >> 31) >> 8 * (index % 8));
    }
    return 0;
}

/* As a kernel with TLS would answer (net/tls/tls_main.c). */
static int install(int option, const void *value, socklen_t size) {
    int receive = option == TLS_RX;
    if (option != TLS_TX && option != TLS_RX)
        return 0;
    if (size > CSTRANGER_INFO_SIZE) {
        errno = EINVAL;
        return -1;
    }
    memcpy(installed[receive].info, value, size);
    installed[receive].size = size;
    installed[receive].count++;
    return 0;
}

int setsockopt(int socket, int level, int option, const void *value, socklen_t size) {
    if (level == SOL_TLS)
        return install(option, value, size);
    if (level == IPPROTO_TCP && option == TCP_ULP) {
        struct tcp_info info;
        socklen_t length = sizeof info;
        if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_ESTABLISHED)
            return 0;
        errno = ENOTCONN;
        return -1;
    }
    return (int)syscall(SYS_setsockopt, socket, level, option, value, size);
}

/* Defined where AddressSanitizer replaces the heap. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

size_t cstranger_heap(void) {
    if (__sanitizer_get_current_allocated_bytes != NULL)
        return __sanitizer_get_current_allocated_bytes();
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
