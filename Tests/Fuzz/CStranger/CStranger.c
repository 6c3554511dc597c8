#include "CStranger.h"

#include <gmp.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <nettle/curve25519.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <string.h>
#include <sys/socket.h>

uint64_t cstranger_received(int socket) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size);
    return info.tcpi_bytes_received;
}

void cstranger_hash(int sha384, const unsigned char *bytes, size_t count, unsigned char *out) {
    gnutls_hash_fast(sha384 ? GNUTLS_DIG_SHA384 : GNUTLS_DIG_SHA256, bytes, count, out);
}

void cstranger_hmac(int sha384, const unsigned char *key, size_t key_size, const unsigned char *bytes, size_t count,
                    unsigned char *out) {
    gnutls_hmac_fast(sha384 ? GNUTLS_MAC_SHA384 : GNUTLS_MAC_SHA256, key, key_size, bytes, count, out);
}

static gnutls_cipher_algorithm_t cipher_of(uint16_t suite) {
    switch (suite) {
    case 0x1301:
        return GNUTLS_CIPHER_AES_128_GCM;
    case 0x1302:
        return GNUTLS_CIPHER_AES_256_GCM;
    case 0x1303:
        return GNUTLS_CIPHER_CHACHA20_POLY1305;
    default:
        return GNUTLS_CIPHER_AES_128_CCM;
    }
}

long cstranger_aead(int seal, uint16_t suite, const unsigned char *key, const unsigned char *nonce,
                    const unsigned char *header, size_t header_size, const unsigned char *in, size_t count,
                    unsigned char *out, size_t capacity) {
    gnutls_aead_cipher_hd_t handle;
    gnutls_cipher_algorithm_t cipher = cipher_of(suite);
    gnutls_datum_t secret = {(unsigned char *)key, (unsigned int)gnutls_cipher_get_key_size(cipher)};
    if (gnutls_aead_cipher_init(&handle, cipher, &secret) < 0)
        return -1;
    size_t made = capacity;
    int code = seal ? gnutls_aead_cipher_encrypt(handle, nonce, 12, header, header_size, 16, in, count, out, &made)
                    : gnutls_aead_cipher_decrypt(handle, nonce, 12, header, header_size, 16, in, count, out, &made);
    gnutls_aead_cipher_deinit(handle);
    return code < 0 ? -1 : (long)made;
}

/* Key agreement */

enum { X25519 = 0x001D, SECP256R1 = 0x0017, SECP384R1 = 0x0018 };

static const unsigned char private_key[48] = "a private key, the same in every handshake";

static const struct ecc_curve *curve_of(uint16_t group, size_t *size) {
    *size = group == SECP256R1 ? 32 : 48;
    return group == SECP256R1 ? nettle_get_secp_256r1() : group == SECP384R1 ? nettle_get_secp_384r1() : NULL;
}

static void put(unsigned char *out, size_t size, const mpz_t number) {
    size_t count = (mpz_sizeinbase(number, 2) + 7) / 8;
    memset(out, 0, size);
    mpz_export(out + size - count, NULL, 1, 1, 0, 0, number);
}

/* Multiplies a point, or the generator if there is none, with the private key. Returns 0 for a point off the curve. */
static int multiply(const struct ecc_curve *curve, size_t size, const unsigned char *point, unsigned char *x_out,
                    unsigned char *y_out) {
    struct ecc_scalar scalar;
    struct ecc_point from, to;
    mpz_t x, y;
    int on_curve = 1;
    mpz_inits(x, y, NULL);
    ecc_scalar_init(&scalar, curve);
    ecc_point_init(&from, curve);
    ecc_point_init(&to, curve);
    mpz_import(x, size, 1, 1, 0, 0, private_key);
    ecc_scalar_set(&scalar, x);
    if (point != NULL) {
        mpz_import(x, size, 1, 1, 0, 0, point);
        mpz_import(y, size, 1, 1, 0, 0, point + size);
        on_curve = ecc_point_set(&from, x, y);
        if (on_curve)
            ecc_point_mul(&to, &scalar, &from);
    } else {
        ecc_point_mul_g(&to, &scalar);
    }
    if (on_curve) {
        ecc_point_get(&to, x, y);
        put(x_out, size, x);
        put(y_out, size, y);
    }
    ecc_point_clear(&to);
    ecc_point_clear(&from);
    ecc_scalar_clear(&scalar);
    mpz_clears(x, y, NULL);
    return on_curve;
}

long cstranger_share(uint16_t group, unsigned char *out) {
    size_t size;
    if (group == X25519) {
        curve25519_mul_g(out, private_key);
        return 32;
    }
    const struct ecc_curve *curve = curve_of(group, &size);
    if (curve == NULL)
        return -1;
    out[0] = 4;
    multiply(curve, size, NULL, out + 1, out + 1 + size);
    return (long)(1 + 2 * size);
}

long cstranger_agree(uint16_t group, const unsigned char *share, size_t count, unsigned char *out) {
    size_t size;
    unsigned char ignored[48];
    if (group == X25519) {
        if (count != 32)
            return -1;
        curve25519_mul(out, private_key, share);
        return 32;
    }
    const struct ecc_curve *curve = curve_of(group, &size);
    if (curve == NULL || count != 1 + 2 * size || !multiply(curve, size, share + 1, out, ignored))
        return -1;
    return (long)size;
}

/* Certificates */

#define PEOPLE (CSTRANGER_STRANGER + 1)

static struct person {
    gnutls_x509_privkey_t key;
    gnutls_privkey_t signer;
    gnutls_x509_crt_t certificate;
    gnutls_datum_t der, pem, public_pem;
} people[PEOPLE];

static const char *const names[PEOPLE] = {"authority", "worker", "peer", "curve peer", "stranger"};

static int issue(enum cstranger_who who) {
    /* 2020-01-01 and 2060-01-01. */
    static const time_t from = 1577836800, until = 2840140800;
    struct person *person = &people[who];
    struct person *issuer = &people[who == CSTRANGER_STRANGER ? CSTRANGER_STRANGER : CSTRANGER_AUTHORITY];
    int is_authority = who == CSTRANGER_AUTHORITY, code = 0;
    unsigned char serial = (unsigned char)(1 + who);
    gnutls_pubkey_t public_key;
    gnutls_pk_algorithm_t type = who == CSTRANGER_CURVE_PEER ? GNUTLS_PK_ECDSA : GNUTLS_PK_EDDSA_ED25519;
    unsigned int bits = who == CSTRANGER_CURVE_PEER ? GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1) : 256;
#define TRY(call)                                                                                                      \
    if ((code = (call)) < 0)                                                                                           \
    return code
    TRY(gnutls_x509_privkey_init(&person->key));
    TRY(gnutls_x509_privkey_generate(person->key, type, bits, 0));
    TRY(gnutls_privkey_init(&person->signer));
    TRY(gnutls_privkey_import_x509(person->signer, person->key, 0));
    TRY(gnutls_x509_crt_init(&person->certificate));
    gnutls_x509_crt_t made = person->certificate;
    TRY(gnutls_x509_crt_set_version(made, 3));
    TRY(gnutls_x509_crt_set_serial(made, &serial, 1));
    TRY(gnutls_x509_crt_set_key(made, person->key));
    TRY(gnutls_x509_crt_set_dn_by_oid(made, GNUTLS_OID_X520_COMMON_NAME, 0, names[who],
                                      (unsigned int)strlen(names[who])));
    TRY(gnutls_x509_crt_set_activation_time(made, from));
    TRY(gnutls_x509_crt_set_expiration_time(made, until));
    TRY(gnutls_x509_crt_set_basic_constraints(made, (unsigned int)is_authority, -1));
    if (!is_authority)
        TRY(gnutls_x509_crt_set_subject_alt_name(made, GNUTLS_SAN_DNSNAME, "peer.test", 9, GNUTLS_FSAN_SET));
    TRY(gnutls_x509_crt_set_key_usage(made, is_authority ? GNUTLS_KEY_KEY_CERT_SIGN : GNUTLS_KEY_DIGITAL_SIGNATURE));
    TRY(gnutls_x509_crt_privkey_sign(made, issuer->certificate, issuer->signer, GNUTLS_DIG_UNKNOWN, 0));
    TRY(gnutls_x509_crt_export2(made, GNUTLS_X509_FMT_DER, &person->der));
    TRY(gnutls_x509_crt_export2(made, GNUTLS_X509_FMT_PEM, &person->pem));
    TRY(gnutls_pubkey_init(&public_key));
    TRY(gnutls_pubkey_import_privkey(public_key, person->signer, 0, 0));
    TRY(gnutls_pubkey_export2(public_key, GNUTLS_X509_FMT_PEM, &person->public_pem));
    gnutls_pubkey_deinit(public_key);
    return 0;
}

int cstranger_prepare(void) {
    for (enum cstranger_who who = 0; who < PEOPLE; who++) {
        int code = issue(who);
        if (code < 0)
            return code;
    }
    return 0;
}

static const unsigned char *give(const gnutls_datum_t *bytes, size_t *count) {
    *count = bytes->size;
    return bytes->data;
}

const unsigned char *cstranger_certificate(enum cstranger_who who, int pem, size_t *count) {
    return give(pem ? &people[who].pem : &people[who].der, count);
}

const unsigned char *cstranger_public_key(enum cstranger_who who, size_t *count) {
    return give(&people[who].public_pem, count);
}

long cstranger_sign(enum cstranger_who who, const unsigned char *bytes, size_t count, unsigned char *out,
                    size_t capacity) {
    gnutls_datum_t content = {(unsigned char *)bytes, (unsigned int)count}, signature;
    gnutls_sign_algorithm_t algorithm =
        who == CSTRANGER_CURVE_PEER ? GNUTLS_SIGN_ECDSA_SECP256R1_SHA256 : GNUTLS_SIGN_EDDSA_ED25519;
    if (gnutls_privkey_sign_data2(people[who].signer, algorithm, 0, &content, &signature) < 0)
        return -1;
    long size = signature.size <= capacity ? (long)signature.size : -1;
    if (size > 0)
        memcpy(out, signature.data, signature.size);
    gnutls_free(signature.data);
    return size;
}
