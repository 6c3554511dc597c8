#include "CGnuTLS.h"
#include "CLinux.h"
#include "CryptoInfo.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

_Static_assert(sizeof(struct tls12_crypto_info_aes_gcm_128) == 40, "kernel layout");
_Static_assert(sizeof(struct tls12_crypto_info_aes_gcm_256) == 56, "kernel layout");
_Static_assert(sizeof(struct tls12_crypto_info_aes_ccm_128) == 40, "kernel layout");
_Static_assert(sizeof(struct tls12_crypto_info_chacha20_poly1305) == 56, "kernel layout");
_Static_assert(CGNUTLS_CRYPTO_INFO_SIZE == 56, "largest structure");

uint16_t cgnutls_kernel_cipher(gnutls_session_t session) {
    switch (gnutls_cipher_get(session)) {
    case GNUTLS_CIPHER_AES_128_GCM:
        return TLS_CIPHER_AES_GCM_128;
    case GNUTLS_CIPHER_AES_256_GCM:
        return TLS_CIPHER_AES_GCM_256;
    case GNUTLS_CIPHER_AES_128_CCM:
        return TLS_CIPHER_AES_CCM_128;
    case GNUTLS_CIPHER_CHACHA20_POLY1305:
        return TLS_CIPHER_CHACHA20_POLY1305;
    default:
        return 0;
    }
}

/* The state of one direction (gnutls_record_get_state), which must be that of a TLS 1.3 cipher. */
static int get_state(gnutls_session_t session, int receive, gnutls_datum_t *iv, gnutls_datum_t *key,
                     unsigned char sequence[CGNUTLS_SEQUENCE_SIZE]) {
    int code = gnutls_record_get_state(session, receive != 0, NULL, iv, key, sequence);
    if (code < 0)
        return code;
    return gnutls_protocol_get_version(session) == GNUTLS_TLS1_3 && iv->size == CGNUTLS_IV_SIZE
               ? GNUTLS_E_SUCCESS
               : GNUTLS_E_INTERNAL_ERROR;
}

int cgnutls_open(gnutls_session_t session, const unsigned char *record, size_t size, unsigned char *content,
                 unsigned char *type) {
    enum { HEADER = 5 };
    gnutls_datum_t iv, key;
    unsigned char nonce[CGNUTLS_IV_SIZE], sequence[CGNUTLS_SEQUENCE_SIZE];
    int code = get_state(session, 1, &iv, &key, sequence);
    if (code < 0)
        return code;
    if (size < HEADER)
        return GNUTLS_E_INTERNAL_ERROR;
    /* RFC 8446 5.3 */
    memcpy(nonce, iv.data, sizeof nonce);
    for (size_t i = 0; i < sizeof sequence; i++)
        nonce[sizeof nonce - sizeof sequence + i] ^= sequence[i];
    gnutls_cipher_algorithm_t algorithm = gnutls_cipher_get(session);
    gnutls_aead_cipher_hd_t cipher;
    code = gnutls_aead_cipher_init(&cipher, algorithm, &key);
    if (code < 0)
        return code;
    size_t count = size;
    code =
        gnutls_aead_cipher_decrypt(cipher, nonce, sizeof nonce, record, HEADER, gnutls_cipher_get_tag_size(algorithm),
                                   record + HEADER, size - HEADER, content, &count);
    gnutls_aead_cipher_deinit(cipher);
    if (code < 0)
        return code;
    /* RFC 8446 5.4: zeros follow the type. */
    while (count > 0 && content[count - 1] == 0)
        count--;
    if (count == 0)
        return GNUTLS_E_UNEXPECTED_PACKET;
    *type = content[count - 1];
    return (int)(count - 1);
}

void cgnutls_wipe(void *bytes, size_t count) { explicit_bzero(bytes, count); }

/* A TLS 1.3 nonce is salt followed by IV, except for ChaCha20-Poly1305, for which the kernel has no salt. */
#define FILL(type, number)                                                                                             \
    do {                                                                                                               \
        struct type *filled = (struct type *)info;                                                                     \
        if (key->size != sizeof filled->key || iv->size != sizeof filled->salt + sizeof filled->iv)                    \
            return GNUTLS_E_INTERNAL_ERROR;                                                                            \
        filled->info.version = TLS_1_3_VERSION;                                                                        \
        filled->info.cipher_type = number;                                                                             \
        memcpy(filled->salt, iv->data, sizeof filled->salt);                                                           \
        memcpy(filled->iv, iv->data + sizeof filled->salt, sizeof filled->iv);                                         \
        memcpy(filled->key, key->data, sizeof filled->key);                                                            \
        memcpy(filled->rec_seq, sequence, sizeof filled->rec_seq);                                                     \
        return sizeof *filled;                                                                                         \
    } while (0)

int cgnutls_fill(uint16_t cipher, const gnutls_datum_t *key, const gnutls_datum_t *iv, const unsigned char *sequence,
                 unsigned char *info) {
    switch (cipher) {
    case TLS_CIPHER_AES_GCM_128:
        FILL(tls12_crypto_info_aes_gcm_128, TLS_CIPHER_AES_GCM_128);
    case TLS_CIPHER_AES_GCM_256:
        FILL(tls12_crypto_info_aes_gcm_256, TLS_CIPHER_AES_GCM_256);
    case TLS_CIPHER_AES_CCM_128:
        FILL(tls12_crypto_info_aes_ccm_128, TLS_CIPHER_AES_CCM_128);
    case TLS_CIPHER_CHACHA20_POLY1305:
        FILL(tls12_crypto_info_chacha20_poly1305, TLS_CIPHER_CHACHA20_POLY1305);
    default:
        return GNUTLS_E_UNWANTED_ALGORITHM;
    }
}

int cgnutls_crypto_info(gnutls_session_t session, int receive, unsigned char *info) {
    gnutls_datum_t iv, key;
    unsigned char sequence[CGNUTLS_SEQUENCE_SIZE];
    int code = get_state(session, receive, &iv, &key, sequence);
    if (code < 0)
        return code;
    return cgnutls_fill(cgnutls_kernel_cipher(session), &key, &iv, sequence, info);
}

int cgnutls_attach(int socket) {
    if (setsockopt(socket, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") == 0 || errno == EEXIST)
        return 0;
    return errno;
}

int cgnutls_limit_payload(int socket, uint16_t bytes) {
    return setsockopt(socket, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &bytes, sizeof bytes) == 0 ? 0 : errno;
}

int cgnutls_set_keys(gnutls_session_t session, int socket, int receive) {
    /* Aligned for the widest member of the kernel's structures. */
    _Alignas(8) unsigned char info[CGNUTLS_CRYPTO_INFO_SIZE];
    int size = cgnutls_crypto_info(session, receive, info);
    int result = EPROTO;
    if (size > 0)
        result = setsockopt(socket, SOL_TLS, receive ? TLS_RX : TLS_TX, info, (socklen_t)size) == 0 ? 0 : errno;
    explicit_bzero(info, sizeof info);
    return result;
}

int cgnutls_copy(gnutls_datum_t *target, const void *bytes, size_t count) {
    target->data = gnutls_malloc(count > 0 ? count : 1);
    if (target->data == NULL)
        return GNUTLS_E_MEMORY_ERROR;
    memcpy(target->data, bytes, count);
    target->size = (unsigned int)count;
    return GNUTLS_E_SUCCESS;
}

gnutls_sign_algorithm_t cgnutls_sign_id(const char *name) { return gnutls_sign_get_id(name); }

gnutls_pk_algorithm_t cgnutls_pk_id(const char *name) { return gnutls_pk_get_id(name); }

void cgnutls_free(void *memory) { gnutls_free(memory); }

void cgnutls_resolve_default_priorities(void) {
    /* Exported for GnuTLS's own tests since 3.6. If one is missing, nothing changes. */
    const char **name = (const char **)dlsym(RTLD_DEFAULT, "_gnutls_default_priority_string");
    char *(*resolve)(const char *) = (char *(*)(const char *))dlsym(RTLD_DEFAULT, "_gnutls_resolve_priorities");
    if (name == NULL || *name == NULL || **name != '@' || resolve == NULL)
        return;
    const char *resolved = resolve(*name);
    if (resolved != NULL)
        *name = resolved;
}

typedef int (*allocate_client)(gnutls_psk_client_credentials_t *, gnutls_mac_algorithm_t);
typedef int (*allocate_server)(gnutls_psk_server_credentials_t *, gnutls_mac_algorithm_t);

static allocate_client newer_client(void) {
    return (allocate_client)dlsym(RTLD_DEFAULT, "gnutls_psk_allocate_client_credentials2");
}

static allocate_server newer_server(void) {
    return (allocate_server)dlsym(RTLD_DEFAULT, "gnutls_psk_allocate_server_credentials2");
}

int cgnutls_binds_sha384(void) { return newer_client() != NULL && newer_server() != NULL; }

int cgnutls_psk_client_credentials(gnutls_psk_client_credentials_t *credentials, gnutls_mac_algorithm_t binder) {
    allocate_client newer = newer_client();
    if (newer != NULL)
        return newer(credentials, binder);
    if (binder != GNUTLS_MAC_SHA256)
        return GNUTLS_E_UNIMPLEMENTED_FEATURE;
    return gnutls_psk_allocate_client_credentials(credentials);
}

int cgnutls_psk_server_credentials(gnutls_psk_server_credentials_t *credentials, gnutls_mac_algorithm_t binder) {
    allocate_server newer = newer_server();
    if (newer != NULL)
        return newer(credentials, binder);
    if (binder != GNUTLS_MAC_SHA256)
        return GNUTLS_E_UNIMPLEMENTED_FEATURE;
    return gnutls_psk_allocate_server_credentials(credentials);
}
