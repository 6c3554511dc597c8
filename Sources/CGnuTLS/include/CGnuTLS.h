/* GnuTLS, and a shim for what Swift cannot do: handling keys without leaving copies, and calling functions that the
 * GnuTLS in use may lack. */
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

/* Keys: filled, used and wiped in C, because Swift may copy values. */

/* Size of the largest crypto_info of TLS 1.3 (include/uapi/linux/tls.h). */
#define CGNUTLS_CRYPTO_INFO_SIZE 56

/* Kernel constant (TLS_CIPHER_*) of the session's cipher; 0 if kernel TLS does not support it. */
uint16_t cgnutls_kernel_cipher(gnutls_session_t session);

/* Opens the next protected record (RFC 8446 5.2) with the session's key, and leaves the session as it is. `record` has
 * its header, with the version 0x0303. `content` has `size` bytes as well; the caller wipes them. Returns the bytes of
 * the content and sets `type` to its type, or returns a negative GnuTLS code. */
int cgnutls_open(gnutls_session_t session, const unsigned char *record, size_t size, unsigned char *content,
                 unsigned char *type);

/* Writes the argument of setsockopt(TLS_TX or TLS_RX). `info` has CGNUTLS_CRYPTO_INFO_SIZE bytes, which the caller must
 * wipe. Returns the bytes used, or a negative GnuTLS code. */
int cgnutls_crypto_info(gnutls_session_t session, int receive, unsigned char *info);

/* Overwrites memory; the compiler cannot remove it. */
void cgnutls_wipe(void *bytes, size_t count);

/* TCP_ULP "tls". Succeeds if it was already set. Returns 0 or an errno. */
int cgnutls_attach(int socket);
/* TLS_TX_MAX_PAYLOAD_LEN (Linux 6.19). Returns 0 or an errno. */
int cgnutls_limit_payload(int socket, uint16_t bytes);
/* Installs the keys of one direction. Returns 0 or an errno; EPROTO if GnuTLS does not return the state. */
int cgnutls_set_keys(gnutls_session_t session, int socket, int receive);

/* Makes a copy that GnuTLS frees. Returns a GnuTLS code. */
int cgnutls_copy(gnutls_datum_t *target, const void *bytes, size_t count);

/* gnutls_free is a variable, which Swift cannot read. NULL is allowed. */
void cgnutls_free(void *_Nullable memory);

/* Functions of newer GnuTLS versions, looked up at run time. */

/* If the default priority refers to an entry of a file, such as @SYSTEM, GnuTLS would check that file for every
 * priority string based on it. After this call the default is the current value of the entry. */
void cgnutls_resolve_default_priorities(void);

/* Returns 1 if PSKs with a SHA-384 binder work (GnuTLS 3.8.11), else 0. */
int cgnutls_binds_sha384(void);
/* Fall back to the older functions for SHA-256; GNUTLS_E_UNIMPLEMENTED_FEATURE for SHA-384 then. */
int cgnutls_psk_client_credentials(gnutls_psk_client_credentials_t _Nullable *_Nonnull credentials,
                                   gnutls_mac_algorithm_t binder);
int cgnutls_psk_server_credentials(gnutls_psk_server_credentials_t _Nullable *_Nonnull credentials,
                                   gnutls_mac_algorithm_t binder);

/* gnutls_sign_get_id and gnutls_pk_get_id. Their declarations say that they read no memory (__GNUTLS_CONST__), so that
 * an optimiser may free the name before the call. */
gnutls_sign_algorithm_t cgnutls_sign_id(const char *name);
gnutls_pk_algorithm_t cgnutls_pk_id(const char *name);

/* Macros. */
static inline unsigned cgnutls_any_message(void) { return GNUTLS_HANDSHAKE_ANY; }
static inline uint32_t cgnutls_session_flags(int is_server) {
    return (is_server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS |
           GNUTLS_NO_AUTO_SEND_TICKET;
}

#pragma clang assume_nonnull end

#endif
