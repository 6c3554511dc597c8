# shellcheck shell=bash
# shows: NFS over TLS and mutual TLS from an IPv6 address: the certificate's IP name is checked, no server name is sent
# guest: uml
daemon_start
nfs_export tls:mtls
nfs_works tls ::1
nfs_works mtls ::1
