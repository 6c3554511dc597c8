# shellcheck shell=bash
# shows: SOAK_MOUNTS mounts that a server refuses, and as many good ones, one after the other: none hangs, each verdict arrives
# guest: qemu-7.2 qemu
# limit: 14400
mounts=${SOAK_MOUNTS:-2000}
[ -z "${SOAK_LOAD:-}" ] || for _ in 1 2; do (exec sh -c 'while :; do :; done') & done
daemon_config client=client-alien
log_every_failure
daemon_start
nfs_export mtls
nfs_many mtls "$mounts" EACCES 3000
grep -q HANGS "$WORK/mounts" && tail -n 20 "$DAEMON_LOG"
check "each has the server's line" log_reached "$mounts" "NFS server: .* failed: the peer's certificate is from an unknown authority .*sent alert unknown_ca"
say "      client: $(log_count "NFS client: .*kernel told EACCES") told by us, $(log_count "NFS client: .* is up") read by its kernel; server: $(log_count "NFS server: .*sent alert unknown_ca")"
daemon_stop
daemon_config
daemon_start
nfs_many mtls "$mounts" mounted 60000
