# shellcheck shell=bash
# shows: a hundred mounts that a server refuses, one after the other: each fails with EACCES within 3 s, none hangs, no RST
# guest: qemu-7.2 qemu
# limit: 1200
daemon_config client=client-alien
daemon_start
nfs_export mtls
nfs_many mtls 100 EACCES 10000
check "each server's line names the reason" within 30 log_reached 100 "NFS server: .* failed: the peer's certificate is from an unknown authority .*sent alert unknown_ca"
# In TLS 1.3 a client may be done before it is refused (docs/decisions/0003): then its kernel reads the alert.
refused=$(log_count "NFS client: .* failed: the peer refused the handshake .*unknown_ca.*kernel told EACCES")
late=$(log_count "NFS client: .* is up")
say "      $refused refusals were told to the client's kernel by us, $late it read itself"
check "all refusals are accounted for" equal $((refused + late)) "$(log_count "NFS server: .*sent alert unknown_ca")"
check "most are told by us" test "$refused" -ge 80
