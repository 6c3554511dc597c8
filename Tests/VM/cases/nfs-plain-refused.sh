# shellcheck shell=bash
# shows: an export for TLS only refuses a mount without TLS
# guest: uml
daemon_start
nfs_export tls
tls_mark
nfs_refused none 'EPERM|EACCES'
check "no TLS session was made" tls_unmoved
nfs_works tls
