#include "CBareLoop.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char name[] = "server.rig";
static unsigned char key[32] = "thirty-two bytes that both know";

struct bare {
    enum bare_kind kind;
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t client, server;
    gnutls_psk_client_credentials_t psk_client;
    gnutls_psk_server_credentials_t psk_server;
};

static int find_key(gnutls_session_t session, const char *identity, gnutls_datum_t *found) {
    (void)session;
    (void)identity;
    found->data = gnutls_malloc(sizeof key);
    if (found->data == NULL)
        return -1;
    memcpy(found->data, key, sizeof key);
    found->size = sizeof key;
    return 0;
}

static int certificates(gnutls_certificate_credentials_t *made, const char *folder, const char *who) {
    char trust[512], certificate[512], private_key[512];
    snprintf(trust, sizeof trust, "%s/ca.pem", folder);
    snprintf(certificate, sizeof certificate, "%s/%s.pem", folder, who);
    snprintf(private_key, sizeof private_key, "%s/%s.key", folder, who);
    int code = gnutls_certificate_allocate_credentials(made);
    if (code >= 0)
        code = gnutls_certificate_set_x509_trust_file(*made, trust, GNUTLS_X509_FMT_PEM);
    if (code >= 0)
        code = gnutls_certificate_set_x509_key_file(*made, certificate, private_key, GNUTLS_X509_FMT_PEM);
    return code;
}

static int prepare(struct bare *bare, const char *folder) {
    const char *text = bare->kind == BARE_PSK ? "NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+ECDHE-PSK:"
                                                "-CIPHER-ALL:+AES-128-GCM:%NO_TICKETS"
                                              : "NORMAL:-VERS-ALL:+VERS-TLS1.3:%NO_TICKETS";
    int code = gnutls_priority_init(&bare->priority, text, NULL);
    if (code < 0)
        return code;
    if (bare->kind == BARE_PSK) {
        gnutls_datum_t datum = {key, sizeof key};
        if ((code = gnutls_psk_allocate_client_credentials(&bare->psk_client)) < 0 ||
            (code = gnutls_psk_allocate_server_credentials(&bare->psk_server)) < 0)
            return code;
        gnutls_psk_set_server_credentials_function(bare->psk_server, find_key);
        return gnutls_psk_set_client_credentials(bare->psk_client, "NVMe0R01 host subsystem", &datum,
                                                 GNUTLS_PSK_KEY_RAW);
    }
    code = certificates(&bare->client, folder, "client");
    return code < 0 ? code : certificates(&bare->server, folder, "server");
}

struct bare *bare_open(const char *folder, enum bare_kind kind) {
    struct bare *bare = calloc(1, sizeof *bare);
    if (bare == NULL)
        return NULL;
    bare->kind = kind;
    int code = prepare(bare, folder);
    if (code >= 0)
        return bare;
    fprintf(stderr, "%s: %s\n", folder, gnutls_strerror(code));
    bare_close(bare);
    return NULL;
}

void bare_close(struct bare *bare) {
    if (bare == NULL)
        return;
    if (bare->client)
        gnutls_certificate_free_credentials(bare->client);
    if (bare->server)
        gnutls_certificate_free_credentials(bare->server);
    if (bare->psk_client)
        gnutls_psk_free_client_credentials(bare->psk_client);
    if (bare->psk_server)
        gnutls_psk_free_server_credentials(bare->psk_server);
    if (bare->priority)
        gnutls_priority_deinit(bare->priority);
    free(bare);
}

static gnutls_session_t session(struct bare *bare, int socket, int is_server) {
    gnutls_session_t made;
    if (gnutls_init(&made, (is_server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS) < 0)
        return NULL;
    gnutls_priority_set(made, bare->priority);
    gnutls_transport_set_int(made, socket);
    if (bare->kind == BARE_PSK) {
        if (is_server)
            gnutls_credentials_set(made, GNUTLS_CRD_PSK, bare->psk_server);
        else
            gnutls_credentials_set(made, GNUTLS_CRD_PSK, bare->psk_client);
        return made;
    }
    gnutls_credentials_set(made, GNUTLS_CRD_CERTIFICATE, is_server ? bare->server : bare->client);
    if (!is_server) {
        gnutls_server_name_set(made, GNUTLS_NAME_DNS, name, sizeof name - 1);
        gnutls_session_set_verify_cert(made, name, 0);
    } else if (bare->kind == BARE_MUTUAL) {
        gnutls_certificate_server_set_request(made, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert(made, NULL, 0);
    }
    return made;
}

int bare_pair(struct bare *bare) {
    int sockets[2], client_code = GNUTLS_E_AGAIN, server_code = GNUTLS_E_AGAIN;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) != 0)
        return GNUTLS_E_INTERNAL_ERROR;
    gnutls_session_t client = session(bare, sockets[0], 0), server = session(bare, sockets[1], 1);
    if (client != NULL && server != NULL) {
        while (client_code != 0 || server_code != 0) {
            if (client_code != 0 && (client_code = gnutls_handshake(client)) != 0 &&
                gnutls_error_is_fatal(client_code))
                break;
            if (server_code != 0 && (server_code = gnutls_handshake(server)) != 0 &&
                gnutls_error_is_fatal(server_code))
                break;
        }
    }
    if (client != NULL)
        gnutls_deinit(client);
    if (server != NULL)
        gnutls_deinit(server);
    close(sockets[0]);
    close(sockets[1]);
    return client_code != 0 ? client_code : server_code;
}
