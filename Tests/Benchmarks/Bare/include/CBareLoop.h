/* What GnuTLS costs by itself: pairs of TLS 1.3 handshakes by the bare library, credentials kept, both ends in one thread
 * over a socket pair. And a count of the memory that the process asks for. */
#ifndef CBARELOOP_H
#define CBARELOOP_H

#include <stdint.h>

#pragma clang assume_nonnull begin

enum bare_kind { BARE_MUTUAL, BARE_ANONYMOUS, BARE_PSK };

struct bare;

/* Reads ca.pem, client.pem, client.key, server.pem, server.key of `folder`. NULL with a line on stderr when it cannot. */
struct bare *_Nullable bare_open(const char *folder, enum bare_kind kind);
/* One pair of handshakes from fresh sessions to closed ones. Returns 0, or a GnuTLS code. */
int bare_pair(struct bare *bare);
void bare_close(struct bare *_Nullable bare);

/* Calls of malloc, calloc, realloc, memalign since the start, by the program and all its libraries. */
uint64_t bare_allocations(void);

/* Bytes that are allocated now. */
uint64_t bare_allocated(void);

#pragma clang assume_nonnull end

#endif
