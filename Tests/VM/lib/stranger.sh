# shellcheck shell=bash
# Sourced: honest mounts beside strangers, by time. daemon_start and nfs_export come first.

# mounts_timed NAME COUNT: as many mounts that must work, one after the other; $slowest_ms is that of the slowest.
mounts_timed() {
    local round
    slowest_ms=0
    for ((round = 1; round <= $2; round++)); do
        check "$1: mount $round" nfs_mount tls
        [ "$mount_ms" -le $slowest_ms ] || slowest_ms=$mount_ms
        check "$1: unmount $round" nfs_unmount
    done
}

# beside_strangers SENT INPUT ARG...: mounts alone, then as many beside strangers of whom SENT have done their part
# before; no worker is killed, and none of the mounts takes twice the time of the slowest alone.
beside_strangers() {
    local alone workers
    mounts_timed warm 1
    mounts_timed alone 6
    alone=$slowest_ms
    workers=$(stranger_workers)
    stranger_start "${@:2}"
    require "strangers have sent $2" within 30 stranger_sent "$1"
    mounts_timed beside 8
    check "the strangers went on all the time" kill -0 "$fake_pid"
    say "      slowest mount: $alone ms alone, $slowest_ms ms beside $(fake_count bytes) handshakes of strangers"
    check "none took twice the time" at_most "$slowest_ms" $((2 * alone))
    [ "${RIG_PEER:-0}" -gt 0 ] || check "no worker was killed" equal "$(stranger_workers)" "$workers"
}

# The daemon's children, workers and signer.
stranger_workers() { pgrep -P "$daemon_pid" | sort | tr '\n' ' '; }
