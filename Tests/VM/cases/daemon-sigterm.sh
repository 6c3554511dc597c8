# shellcheck shell=bash
# shows: SIGTERM with a stalled handshake under way: the daemon ends soon with status 0, and the mount hears of it
# guest: uml
heard() { ! kill -0 "$mount_pid" 2>/dev/null || fake_said connection 2; }

modprobe nfs
daemon_start
fake_listen 20490 stall --rpc
nfs_mount tls 127.0.0.1 port=20490 &
mount_pid=$!
require "a handshake is under way" within 15 fake_said hello
sleep 1
begin=$(now_ms)
daemon_stop TERM
took=$(($(now_ms) - begin))
check "the daemon ends within its two seconds of patience (took $took ms)" at_most $took 3000
check "with status 0" equal "$daemon_status" 0
check "no worker stays" within 2 not pgrep -x tlshd-worker
check "the mount hears of it at once" within 1 heard
check "and so does the server" within 1 fake_said closed
fake_show
