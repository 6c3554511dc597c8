# shellcheck shell=bash
# shows: clients that offer a share of FFDHE8192, five a second, cost honest mounts next to nothing
# guest: uml
# check: no
daemon_start
nfs_server 32
nfs_export tls
beside_strangers 5 share-FFDHE8192 --hold 120 --pause 1 --count 5
check "the log says that there is no common group" within 5 log_has 'NFS server: TLS with .* failed: no key-exchange group is common to both ends'
check "and nobody went over the budget" not log_has 'ms of processor time'
fake_stop
nfs_works tls
