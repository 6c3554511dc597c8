#include "CGnuTLS.h"
#include "CryptoInfo.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <linux/tls.h>
#include <string.h>
#include <sys/socket.h>

#define LARGEST_HASH 48 /* SHA-384 */
#define LARGEST_KEY 32
#define RECORD_HANDSHAKE 22
#define MESSAGE_KEY_UPDATE 24

struct traffic {
    uint16_t cipher; /* TLS_CIPHER_*, once verified */
    uint8_t size;
    uint8_t known; /* READ and WRITE */
    unsigned char read[LARGEST_HASH];
    unsigned char write[LARGEST_HASH];
};

enum { READ = 1, WRITE = 2 };

_Static_assert(sizeof(struct traffic) == CGNUTLS_TRAFFIC_SIZE, "size in the header");

void cgnutls_traffic_store(unsigned char *place, const void *read, const void *write, size_t size) {
    struct traffic *traffic = (struct traffic *)place;
    if (size > LARGEST_HASH)
        return;
    traffic->size = (uint8_t)size;
    if (read != NULL) {
        memcpy(traffic->read, read, size);
        traffic->known |= READ;
    }
    if (write != NULL) {
        memcpy(traffic->write, write, size);
        traffic->known |= WRITE;
    }
}

/* HKDF-Expand-Label with an empty context (RFC 8446 7.1), with the hash of the cipher suite. */
static int expand(const struct traffic *traffic, const unsigned char *secret, const char *label, unsigned char *out,
                  size_t count) {
    static const char prefix[] = "tls13 ";
    unsigned char info[32];
    size_t length = strlen(label), used = 0;
    gnutls_datum_t key = {(unsigned char *)secret, traffic->size};
    gnutls_datum_t described = {info, 0};
    gnutls_mac_algorithm_t hash = traffic->size == 48 ? GNUTLS_MAC_SHA384 : GNUTLS_MAC_SHA256;

    info[used++] = (unsigned char)(count >> 8);
    info[used++] = (unsigned char)count;
    info[used++] = (unsigned char)(sizeof prefix - 1 + length);
    memcpy(info + used, prefix, sizeof prefix - 1);
    used += sizeof prefix - 1;
    memcpy(info + used, label, length);
    used += length;
    info[used++] = 0;
    described.size = (unsigned int)used;
    return gnutls_hkdf_expand(hash, &key, &described, out, count);
}

static size_t key_size(uint16_t cipher) {
    return cipher == TLS_CIPHER_AES_GCM_128 || cipher == TLS_CIPHER_AES_CCM_128 ? 16 : 32;
}

struct keys {
    unsigned char key[LARGEST_KEY];
    unsigned char iv[CGNUTLS_IV_SIZE];
};

static int derive(const struct traffic *traffic, const unsigned char *secret, struct keys *keys) {
    int code = expand(traffic, secret, "key", keys->key, key_size(traffic->cipher));
    return code < 0 ? code : expand(traffic, secret, "iv", keys->iv, sizeof keys->iv);
}

static int verify(const struct traffic *traffic, gnutls_session_t session, int receive) {
    gnutls_datum_t iv, key;
    unsigned char sequence[CGNUTLS_SEQUENCE_SIZE];
    struct keys keys;
    int code = gnutls_record_get_state(session, receive != 0, NULL, &iv, &key, sequence);
    if (code >= 0)
        code = derive(traffic, receive ? traffic->read : traffic->write, &keys);
    if (code >= 0 &&
        (key.size != key_size(traffic->cipher) || iv.size != sizeof keys.iv ||
         gnutls_memcmp(key.data, keys.key, key.size) != 0 || gnutls_memcmp(iv.data, keys.iv, iv.size) != 0))
        code = GNUTLS_E_INTERNAL_ERROR;
    explicit_bzero(&keys, sizeof keys);
    return code < 0 ? code : 0;
}

int cgnutls_traffic_verify(unsigned char *place, gnutls_session_t session) {
    struct traffic *traffic = (struct traffic *)place;
    traffic->cipher = cgnutls_kernel_cipher(session);
    if (traffic->known != (READ | WRITE) || traffic->cipher == 0 || (traffic->size != 32 && traffic->size != 48))
        return GNUTLS_E_INTERNAL_ERROR;
    int code = verify(traffic, session, 1);
    return code < 0 ? code : verify(traffic, session, 0);
}

int cgnutls_traffic_advance(unsigned char *place, int socket, int receive) {
    static const unsigned char first[CGNUTLS_SEQUENCE_SIZE];
    struct traffic *traffic = (struct traffic *)place;
    unsigned char *secret = receive ? traffic->read : traffic->write;
    unsigned char next[LARGEST_HASH];
    _Alignas(8) unsigned char info[CGNUTLS_CRYPTO_INFO_SIZE];
    struct keys keys;
    int result = EPROTO, size = -1;

    if (expand(traffic, secret, "traffic upd", next, traffic->size) >= 0 && derive(traffic, next, &keys) >= 0) {
        gnutls_datum_t key = {keys.key, (unsigned int)key_size(traffic->cipher)};
        gnutls_datum_t iv = {keys.iv, sizeof keys.iv};
        size = cgnutls_fill(traffic->cipher, &key, &iv, first, info);
    }
    if (size > 0)
        result = setsockopt(socket, SOL_TLS, receive ? TLS_RX : TLS_TX, info, (socklen_t)size) == 0 ? 0 : errno;
    if (result == 0)
        memcpy(secret, next, traffic->size);
    explicit_bzero(next, sizeof next);
    explicit_bzero(info, sizeof info);
    explicit_bzero(&keys, sizeof keys);
    return result;
}

int cgnutls_send_key_update(int socket, int request) {
    unsigned char message[] = {MESSAGE_KEY_UPDATE, 0, 0, 1, request != 0};
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(1)];
    } control = {.header = {.cmsg_len = CMSG_LEN(1), .cmsg_level = SOL_TLS, .cmsg_type = TLS_SET_RECORD_TYPE}};
    struct iovec part = {message, sizeof message};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *CMSG_DATA(&control.header) = RECORD_HANDSHAKE;
    ssize_t sent;
    do
        sent = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno;
    /* The kernel accepts a control record completely or not at all. */
    return sent == (ssize_t)sizeof message ? 0 : EPROTO;
}
