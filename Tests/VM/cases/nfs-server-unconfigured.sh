# shellcheck shell=bash
# shows: 40 mounts from a server that cannot serve TLS: each fails with EACCES and a line at both ends, none is taken for RPC
# guest: qemu-7.2 uml
# check: uml
# limit: 1200
daemon_config
log_every_failure
sed -i '/authenticate.server/,$d' "$WORK/tlshd.conf"
daemon_start
nfs_export tls:mtls
nfs_many tls 40 EACCES 3000
check "each server's line says that the role is not configured" within 30 log_reached 40 "NFS server: .* failed: this role is not configured .*sent alert access_denied"
check "each client's line names the alert" within 30 log_reached 40 "NFS client: .* failed: the peer refused the handshake .*access_denied"
