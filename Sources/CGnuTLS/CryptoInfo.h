#ifndef CGNUTLS_CRYPTO_INFO_H
#define CGNUTLS_CRYPTO_INFO_H

#include <gnutls/gnutls.h>
#include <stdint.h>

#define CGNUTLS_IV_SIZE 12 /* the write IV of every TLS 1.3 cipher (RFC 8446 5.3) */
#define CGNUTLS_SEQUENCE_SIZE 8

/* Writes the kernel's structure for a cipher (TLS_CIPHER_*). Returns its size, or a GnuTLS code. */
int cgnutls_fill(uint16_t cipher, const gnutls_datum_t *key, const gnutls_datum_t *iv, const unsigned char *sequence,
                 unsigned char *info);

#endif
