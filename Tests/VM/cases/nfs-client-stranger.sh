# shellcheck shell=bash
# shows: a client certificate from an unknown authority is refused, at once and with the reason
# guest: uml
daemon_config client=client-alien
daemon_start
nfs_export mtls:tls
nfs_client_refused
check "the server's line names the reason" within 10 log_has \
    "NFS server: TLS with 127.0.0.1:[0-9]+ failed: the peer's certificate is from an unknown authority .*sent alert unknown_ca"
nfs_client_told unknown_ca
