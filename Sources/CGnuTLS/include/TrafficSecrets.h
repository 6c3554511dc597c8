/* Key update (RFC 8446 4.6.3, 7.2) on a connection with kernel TLS: traffic secrets in memory of the caller. */
#ifndef CGNUTLS_TRAFFIC_SECRETS_H
#define CGNUTLS_TRAFFIC_SECRETS_H

#include <gnutls/gnutls.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/* Secrets of one connection. The caller provides zeroed memory, aligned for a uint16_t, and wipes it. */
#define CGNUTLS_TRAFFIC_SIZE 100

/* Stores the arguments of GnuTLS's secret function at the level of application data. Either may be NULL, and comes in
 * another call then. */
void cgnutls_traffic_store(unsigned char *place, const void *_Nullable read, const void *_Nullable write, size_t size);

/* Verifies that both secrets are present and yield the keys that the session uses. Returns 0 or a GnuTLS code. */
int cgnutls_traffic_verify(unsigned char *place, gnutls_session_t session);

/* Replaces the secret of one direction by the next, and installs its key in the kernel with record number 0. Returns 0,
 * an errno, or EPROTO if GnuTLS fails; after an error the old secret is kept. */
int cgnutls_traffic_advance(unsigned char *place, int socket, int receive);

/* Sends a KeyUpdate message in a record of its own; `request` sets update_requested. Does not block. Returns 0 or an
 * errno; with EAGAIN nothing was sent. */
int cgnutls_send_key_update(int socket, int request);

#pragma clang assume_nonnull end

#endif
