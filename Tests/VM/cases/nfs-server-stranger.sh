# shellcheck shell=bash
# shows: a server certificate from an unknown authority is refused, at once and with the reason
# guest: uml
daemon_config server=server-alien
daemon_start
nfs_export mtls:tls
tls_mark
nfs_refused tls EACCES
check "the client's line names the reason" within 10 log_has \
    "NFS client: TLS with server.rig .* failed: the peer's certificate is from an unknown authority "
nfs_refused mtls EACCES
check "no TLS session was made" tls_unmoved
