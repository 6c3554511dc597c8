# shellcheck shell=bash
# Sourced: honest mounts beside strangers, by time. daemon_start and nfs_export come first.

# mounts_timed NAME COUNT [XPRTSEC]: as many mounts that must work, one after the other. $median_ms and $slowest_ms are
# those of their times.
mounts_timed() {
    local round times=()
    for ((round = 1; round <= $2; round++)); do
        check "$1: mount $round" nfs_mount "${3:-tls}"
        times+=("$mount_ms")
        check "$1: unmount $round" nfs_unmount
    done
    mapfile -t times < <(printf '%s\n' "${times[@]}" | sort -n)
    median_ms=${times[$2 / 2]} slowest_ms=${times[-1]}
}

# as_fast_as ALONE: the assertions that the mounts timed last took no longer than twice those alone, whose median was
# ALONE. The median, because one of a few can be held up by whatever else the machine does; a timer would cost seconds.
as_fast_as() {
    say "      median of the mounts: $1 ms alone, $median_ms ms beside strangers; the slowest took $slowest_ms ms"
    check "they took no longer than twice the time" at_most "$median_ms" $((2 * $1))
    check "none waited for a timer" at_most "$slowest_ms" $((2000 + 4 * $1))
}

# beside_strangers SENT INPUT ARG...: mounts alone, then as many beside strangers of whom SENT have done their part
# before; no worker is killed, and the mounts take no longer than twice the time.
beside_strangers() {
    local alone workers
    mounts_timed warm 1
    mounts_timed alone 6
    alone=$median_ms
    workers=$(stranger_workers)
    stranger_start "${@:2}"
    require "strangers have sent $2" within 30 stranger_sent "$1"
    mounts_timed beside 8
    check "the strangers went on all the time" kill -0 "$fake_pid"
    as_fast_as "$alone"
    [ "${RIG_PEER:-0}" -gt 0 ] || check "no worker was killed" equal "$(stranger_workers)" "$workers"
}

# The daemon's children, workers and signer.
stranger_workers() { pgrep -P "$daemon_pid" | sort | tr '\n' ' '; }
