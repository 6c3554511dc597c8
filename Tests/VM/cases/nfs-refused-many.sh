# shellcheck shell=bash
# shows: fifty mounts on each kernel that a server refuses, one after the other: each fails with EACCES and not by a timer, none hangs, no RST
# guest: qemu-7.2 qemu
# check: no
# limit: 1200
daemon_config client=client-alien
log_every_failure
daemon_start
nfs_export mtls
# One that the client's kernel reads the alert of connects anew after 3 s (XS_TCP_INIT_REEST_TO).
nfs_many mtls 50 EACCES 10000
check "each server's line names the reason" within 30 log_reached 50 "NFS server: .* failed: the peer's certificate is from an unknown authority .*sent alert unknown_ca"
# In TLS 1.3 a client may be done before it is refused (docs/decisions/0003): then its kernel reads the alert.
refused=$(log_count "NFS client: .* failed: the peer refused the handshake .*kernel told EACCES")
late=$(log_count "NFS client: .* is up")
say "      $refused refusals were told to the client's kernel by us, $late it read itself"
check "all refusals are accounted for" equal $((refused + late)) "$(log_count "NFS server: .*sent alert unknown_ca")"
check "most are told by us" test "$refused" -ge 40
