# shellcheck shell=bash
# Sourced by benchmarks: load by the module tlsload, and the bare library's figures. A figure is a line
# "figure NAME WORD=VALUE..." of the case's log.

figure() { echo "figure $*"; }

load_open() {
    local place=$RIG_LOAD
    modprobe nvme-tcp 2>/dev/null
    [ "$RIG_GUEST" != uml ] || place=$RIG_LOAD-uml
    require "the load module loads" insmod "$place/tlsload.ko"
}

# load NAME COMMAND: one command of the module; its outcome is a figure.
load() {
    local name=$1
    shift
    if echo "$*" >/proc/tlsload; then
        figure "$name" "$(cat /proc/tlsload)"
    else
        figure "$name" "error=1 command=${*// /_}"
    fi
}

# limit_run NAME FOLDER SECONDS KIND: the bare library, a process per processor.
limit_run() {
    local number pid pids=()
    for number in $(seq "$(nproc)"); do
        "$RIG_DAEMON/limit" "$2" "$3" "$4" >"$WORK/limit.$number" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do check "the library alone works" wait "$pid"; done
    for number in $(seq "$(nproc)"); do figure "$1" "$(cat "$WORK/limit.$number")"; done
}

# contestant ours|peer: what daemon_start starts from now on.
contestant() {
    contestant=$1
    RIG_PEER=0
    [ "$1" = ours ] || RIG_PEER=1
}

# tasks: the processes of the daemon.
tasks() { pgrep -x 'tlshd|tlshd-worker|tlshd-signer'; }

# cpu NAME: the processor time of each process of the daemon so far, in hundredths of a second, user and system.
cpu() {
    local pid
    for pid in $(tasks); do
        figure "$1" "$(awk '{ gsub(/[()]/, "", $2); print "process=" $2 " user=" $14 " system=" $15 }' "/proc/$pid/stat")"
    done
}

# pss: kilobytes of all processes together.
pss() {
    local pid sum=0
    for pid in $(tasks); do
        sum=$((sum + $(awk '$1 == "Pss:" { print $2 }' "/proc/$pid/smaps_rollup")))
    done
    echo $sum
}

# bench_open: the module is there, and the log lies in the guest's memory.
bench_open() {
    load_open
    DAEMON_LOG=$WORK/daemon.log
    : >"$DAEMON_LOG"
}

# bench_close GOOD: an assertion that all pairs of all loads were good.
bench_close() {
    local bad
    check "the module unloads" within 10 rmmod tlsload
    bad=$(grep -E '^figure .*kind=' "$RIG_RESULT/log" | grep -cvE ' failed=0 corrupt=0 ')
    check "every pair of every load worked ($bad loads did not)" equal "$bad" 0
    check "there were loads" grep -qE '^figure .*kind=' "$RIG_RESULT/log"
}
