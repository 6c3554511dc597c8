# shellcheck shell=bash
# shows: a client certificate that is not yet valid is refused, at once and with the reason
# guest: uml
daemon_config client=client-new
daemon_start
nfs_export mtls:tls
nfs_client_refused
check "the server's line names the reason" within 10 log_has \
    "NFS server: TLS with 127.0.0.1:[0-9]+ failed: the peer's certificate is not yet valid .*sent alert certificate_expired"
nfs_client_told certificate_expired
