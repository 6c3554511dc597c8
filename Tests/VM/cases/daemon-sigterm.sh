# shellcheck shell=bash
# shows: SIGTERM with a handshake under way: given up after 2 s, at once on a second signal; status 0, the mount hears
# guest: uml
heard() { ! kill -0 "$mount_pid" 2>/dev/null || fake_said connection 2; }

# stalled_mount: a handshake that a silent server holds open.
stalled_mount() {
    daemon_start
    fake_listen 20490 stall --rpc
    nfs_mount tls 127.0.0.1 port=20490 &
    mount_pid=$!
    require "a handshake is under way" within 15 fake_said hello
    check "the mount waits" not within 1 heard
}

# ended LIMIT: asserts what tlshd(8) promises about SIGTERM, within milliseconds that tell it from what would end it later.
ended() {
    local took=$(($(now_ms) - begin))
    check "the daemon ends (took $took ms)" at_most $took "$1"
    check "with status 0" equal "$daemon_status" 0
    check "no worker stays" within 15 not pgrep -x tlshd-worker
    check "the mount hears of it at once" within 5 heard
    check "and so does the server" within 5 fake_said closed
    fake_show
    pkill -KILL -x mount.nfs4
    fake_stop
}

modprobe nfs
stalled_mount
begin=$(now_ms)
daemon_stop TERM
# The handshake itself would go on for 9 s.
ended 5000

stalled_mount
begin=$(now_ms)
kill -TERM "$daemon_pid"
check "the first signal is taken" within 5 log_has 'stopping: no new requests'
daemon_stop TERM
ended 1900
