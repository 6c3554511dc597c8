# shellcheck shell=bash
# shows: clients that present an RSA key of 32,768 bits, five a second, cost honest mounts next to nothing
# guest: uml
# check: no
daemon_start
nfs_server 32
nfs_export tls
beside_strangers 5 rsa-32768-exponent-32768 --hold 120 --pause 1 --count 5
check "the log says what was too much" within 5 log_has \
    "NFS server: TLS with .* failed: the peer's certificates would take too long to verify \(.*an RSA key of 32768 bits, at most 8192 are taken"
check "and nobody went over the budget" not log_has 'ms of processor time'
fake_stop
nfs_works tls
