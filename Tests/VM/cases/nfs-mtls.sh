# shellcheck shell=bash
# shows: NFS over mutual TLS on an mtls-only export: v4.1 and v4.2, IPv4 and IPv6
# guest: uml
daemon_start
nfs_export mtls
nfs_works mtls server.rig vers=4.1
nfs_works mtls server6.rig vers=4.2
check "each client's line says so" within 10 log_reached 2 'NFS client: TLS with server6?.rig .* is up: x509, .*peer CN=server,'
check "each server's as well" within 10 log_reached 2 'NFS server: TLS with .* is up: x509, .*peer CN=client,'
