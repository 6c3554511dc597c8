# shellcheck shell=bash
# shows: NFS over TLS and mutual TLS on a stock distribution kernel, 6.12 and 7.2
# guest: qemu qemu-7.2
daemon_start
nfs_export tls:mtls
nfs_works tls
nfs_works mtls
