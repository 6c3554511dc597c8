# shellcheck shell=bash
# shows: NFS over TLS: v4.1 and v4.2, IPv4 and IPv6, server by name and by address
# guest: uml
daemon_start
nfs_export tls
nfs_works tls server.rig vers=4.1
nfs_works tls server.rig vers=4.2
nfs_works tls 127.0.0.1
nfs_works tls server6.rig
check "each client's line says so" within 10 log_reached 4 'NFS client: TLS with .* is up: anonymous client, .*peer CN=server,'
check "each server's as well" within 10 log_reached 4 'NFS server: TLS with .* is up: x509, .*peer without certificate,'
