# shellcheck shell=bash
# shows: a worker is killed in the middle of a handshake: the mount hears at once, the next one works
# guest: uml
heard() { ! kill -0 "$mount_pid" 2>/dev/null || fake_said connection 2; }

daemon_start
nfs_export tls
fake_listen 20490 stall --rpc
nfs_mount tls 127.0.0.1 port=20490 &
mount_pid=$!
require "a handshake is under way" within 15 fake_said hello
check "the mount waits" not within 1 heard
begin=$(now_ms)
# The peer forks a child of its own name instead.
check "the worker is killed" pkill -KILL -P "$daemon_pid"
check "the mount hears of it at once" within 5 heard
check "and the server that held it open" within 5 fake_said closed
check "after $(($(now_ms) - begin)) ms, long before the 10 s timer" at_most $(($(now_ms) - begin)) 7000
check "a line tells so" within 10 log_has 'worker [0-9]+ .*was killed by signal 9'
check "the daemon lives" daemon_alive
kill "$mount_pid" 2>/dev/null
fake_stop
nfs_works tls
