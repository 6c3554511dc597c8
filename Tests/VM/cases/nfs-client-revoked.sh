# shellcheck shell=bash
# shows: a client certificate that the CRL lists as revoked is refused, at once and with the reason
# guest: uml qemu-7.2
# check: uml
daemon_config client=client-gone server_crl=ca.crl
daemon_start
nfs_export mtls:tls
nfs_client_refused
check "the server's line names the reason" within 10 log_has \
    "NFS server: TLS with 127.0.0.1:[0-9]+ failed: the peer's certificate is revoked .*sent alert certificate_revoked"
nfs_client_told certificate_revoked
