# shellcheck shell=bash
# shows: a server certificate for another name or address is refused, at once and with the reason
# guest: uml
daemon_config server=server-other
daemon_start
nfs_export mtls:tls
tls_mark
nfs_refused tls EACCES server.rig
check "the client's line names the reason" within 10 log_has \
    "NFS client: TLS with server.rig .* failed: the peer's certificate is for another name "
nfs_refused tls EACCES 127.0.0.1
nfs_refused mtls EACCES server.rig
check "no TLS session was made" tls_unmoved
