/* The stranger's cryptography, and what stands in place of kernel and random numbers in the programs that fuzz the
 * worker: `setsockopt` records the keys that the kernel would be given, and `gnutls_rnd` repeats itself. */
#ifndef CSTRANGER_H
#define CSTRANGER_H

#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/* Largest crypto_info of include/uapi/linux/tls.h. */
#define CSTRANGER_INFO_SIZE 56

/* Restarts the random numbers of this thread, and forgets the keys of the kernel's place. */
void cstranger_begin(uint64_t seed);
/* How often keys of a direction were installed since then. */
int cstranger_installed(int receive);
/* Copies the crypto_info that was installed last, CSTRANGER_INFO_SIZE bytes. Returns its size. */
size_t cstranger_info(int receive, unsigned char *info);
/* Bytes of the heap in use. */
size_t cstranger_heap(void);

/* Bytes that a socket has received, read or not. A FIN counts as one. */
uint64_t cstranger_received(int socket);

/* Hashes: SHA-384 or SHA-256. */
void cstranger_hash(int sha384, const unsigned char *bytes, size_t count, unsigned char *out);
void cstranger_hmac(int sha384, const unsigned char *key, size_t key_size, const unsigned char *bytes, size_t count,
                    unsigned char *out);

/* Seals or opens with the AEAD of a cipher suite of TLS 1.3. Returns the number of bytes in `out`, or -1. */
long cstranger_aead(int seal, uint16_t suite, const unsigned char *key, const unsigned char *nonce,
                    const unsigned char *header, size_t header_size, const unsigned char *in, size_t count,
                    unsigned char *out, size_t capacity);

/* Key agreement with a private key that is always the same, in x25519, secp256r1 and secp384r1. Each returns the number
 * of bytes, at most 97 of a share and 48 of a secret, or -1. */
long cstranger_share(uint16_t group, unsigned char *out);
long cstranger_agree(uint16_t group, const unsigned char *share, size_t count, unsigned char *out);

/* Who a certificate is of. The stranger's is issued by nobody whom the worker trusts. */
enum cstranger_who { CSTRANGER_AUTHORITY, CSTRANGER_WORKER, CSTRANGER_PEER, CSTRANGER_CURVE_PEER, CSTRANGER_STRANGER };

/* Makes all certificates and keys: Ed25519, and of CSTRANGER_CURVE_PEER secp256r1. Returns 0, or a GnuTLS code. */
int cstranger_prepare(void);
/* A certificate in DER or PEM; valid as long as the process. */
const unsigned char *cstranger_certificate(enum cstranger_who who, int pem, size_t *count);
/* The public half of a key in PEM; valid as long as the process. */
const unsigned char *cstranger_public_key(enum cstranger_who who, size_t *count);
/* Signs; returns the number of bytes, or -1. */
long cstranger_sign(enum cstranger_who who, const unsigned char *bytes, size_t count, unsigned char *out,
                    size_t capacity);

#pragma clang assume_nonnull end

#endif
