/* Key update (RFC 8446 4.6.3, 7.2) on a connection that the kernel encrypts: traffic secrets, kept and followed in C
 * memory of the caller's. */
#ifndef CGNUTLS_TRAFFIC_SECRETS_H
#define CGNUTLS_TRAFFIC_SECRETS_H

#include <gnutls/gnutls.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/* One connection's secrets. The caller gives the memory, zeros at first, aligned for a uint16_t, and wipes it. */
#define CGNUTLS_TRAFFIC_SIZE 100

/* Takes what the library's secret function is called with at the level of application data: either may be missing, and
 * comes in another call then. */
void cgnutls_traffic_store(unsigned char *place, const void *_Nullable read, const void *_Nullable write, size_t size);

/* Whether the secrets are complete, and make the very keys that the session uses. Returns 0 or a GnuTLS code. */
int cgnutls_traffic_verify(unsigned char *place, gnutls_session_t session);

/* Replaces one direction's secret by the next, gives its key to the kernel with record number 0, and forgets the
 * former. Returns 0, an errno, or EPROTO when the library cannot; after an error the former secret stands. */
int cgnutls_traffic_advance(unsigned char *place, int socket, int receive);

/* Sends a KeyUpdate message as a record of its own; `request` asks the peer for one. Does not block. Returns 0 or an
 * errno; EAGAIN: nothing was sent. */
int cgnutls_send_key_update(int socket, int request);

#pragma clang assume_nonnull end

#endif
