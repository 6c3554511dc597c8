# shellcheck shell=bash
# shows: an NFS client that resets the connection in the handshake is noticed at once by the server's daemon
# guest: uml qemu
# check: uml
daemon_start
nfs_export tls
fake_start connect 2049 reset --rpc --after 2 --partial
check "the false client starts TLS" within 15 fake_said begun
check "no line yet" not log_has 'NFS server: '
check "it resets" within 15 fake_said reset
check "at once a line tells so" within 2 log_has 'NFS server: TLS with 127.0.0.1:[0-9]+ failed: the connection broke '
fake_show
nfs_works tls
