# shellcheck shell=bash
# shows: an export for mutual TLS only refuses a client that shows no certificate
# guest: uml
daemon_start
nfs_export mtls
nfs_refused tls 'EPERM|EACCES'
nfs_works mtls
