/* GnuTLS, and the shim for what Swift cannot reach: keys that must leave no copy behind, and functions that the library
 * at run time may or may not have. */
#ifndef CGNUTLS_H
#define CGNUTLS_H

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/ocsp.h>
#include <gnutls/x509.h>
#include <stddef.h>
#include <stdint.h>

#include "TrafficSecrets.h"

#pragma clang assume_nonnull begin

/* Keys: filled, used and wiped in C, because Swift may copy a value whenever it likes. */

/* The largest crypto_info of TLS 1.3 (include/uapi/linux/tls.h). */
#define CGNUTLS_CRYPTO_INFO_SIZE 56

/* The kernel's number (TLS_CIPHER_*) of the session's cipher; 0 for one that kTLS does not know. */
uint16_t cgnutls_kernel_cipher(gnutls_session_t session);

/* The number of the next record in one direction, big-endian. Returns a GnuTLS code. */
int cgnutls_sequence(gnutls_session_t session, int receive, unsigned char sequence[_Nonnull 8]);

/* Writes what setsockopt(TLS_TX or TLS_RX) takes; `sequence` replaces the session's own number where given. `info` has
 * CGNUTLS_CRYPTO_INFO_SIZE bytes, which the caller must wipe. Returns the bytes used, or a negative GnuTLS code. */
int cgnutls_crypto_info(gnutls_session_t session, int receive, const unsigned char *_Nullable sequence,
                        unsigned char *info);

/* Overwrites memory in a way that no compiler removes. */
void cgnutls_wipe(void *bytes, size_t count);

/* TCP_ULP "tls"; done before counts as done. Returns 0 or an errno. */
int cgnutls_attach(int socket);
/* TLS_TX_MAX_PAYLOAD_LEN (Linux 6.19). Returns 0 or an errno. */
int cgnutls_limit_payload(int socket, uint16_t bytes);
/* Sets one direction's keys. Returns 0 or an errno; EPROTO when the library does not give the state. */
int cgnutls_set_keys(gnutls_session_t session, int socket, int receive, const unsigned char *_Nullable sequence);

/* A copy that the library frees. Returns a GnuTLS code. */
int cgnutls_copy(gnutls_datum_t *target, const void *bytes, size_t count);

/* gnutls_free is a variable, which Swift may not read. NULL is fine. */
void cgnutls_free(void *_Nullable memory);

/* Functions of newer libraries, found at run time. */

/* Where the default priorities are an entry of a file, such as @SYSTEM, the library would look at that file for every
 * priority string that builds on them; from this call on they are what the entry says now. */
void cgnutls_resolve_default_priorities(void);

/* Whether PSKs with a SHA-384 binder work: GnuTLS 3.8.11. */
int cgnutls_binds_sha384(void);
/* With the older functions for SHA-256 where these are missing; GNUTLS_E_UNIMPLEMENTED_FEATURE for SHA-384 then. */
int cgnutls_psk_client_credentials(gnutls_psk_client_credentials_t _Nullable *_Nonnull credentials,
                                   gnutls_mac_algorithm_t binder);
int cgnutls_psk_server_credentials(gnutls_psk_server_credentials_t _Nullable *_Nonnull credentials,
                                   gnutls_mac_algorithm_t binder);

/* Macros. */
static inline unsigned cgnutls_any_message(void) { return GNUTLS_HANDSHAKE_ANY; }
static inline uint32_t cgnutls_session_flags(int is_server) {
    return (is_server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS |
           GNUTLS_NO_AUTO_SEND_TICKET;
}

#pragma clang assume_nonnull end

#endif
