# shellcheck shell=bash
# shows: AF_TLSH: consumers that gave up, requests queued when the daemon is stopped and when it dies, no daemon at all
# guest: qemu memory
# check: qemu
# module: tlsh
five_wait() { equal "$(cat /proc/tlsh)" requests=5; }
tlsh_load
connection="connect 127.0.0.1 4433 type=0"
tlsh_peer_serves openssl 4433 --certificate server --count 20
check "without a daemon the consumer hears ENOENT at once" matches "$(tlsh_ask $connection)" '.*submitted=-2 .*'
daemon_start
kill -STOP "$daemon_pid"
check "a stopped daemon lets the consumer's time run out" matches "$(tlsh_ask $connection timeout=500)" '.*status=-110 .*'
kill -CONT "$daemon_pid"
check "the daemon says that it came too late (EBUSY)" within 5 log_has 'consumer gave up before its request was accepted'
check "and lets go of it" within 15 tlsh_idle
check "the next one is served" tlsh_carried "$(tlsh_ask $connection)"

kill -STOP "$daemon_pid"
for number in 1 2 3 4 5; do tlsh_start "one$number" $connection timeout=20000; done
check "five wait" within 15 five_wait
kill -KILL "$daemon_pid"
wait "$daemon_pid" 2>/dev/null
begin=$(now_ms)
wait "${tlsh_pids[@]:1}"
check "when it dies all five hear of it at once" at_most $(($(now_ms) - begin)) 10000
for number in 1 2 3 4 5; do check "EACCES" tlsh_refused "$(cat "$WORK/one$number")"; done

daemon_start
kill -STOP "$daemon_pid"
for number in 1 2 3 4 5; do tlsh_start "two$number" $connection timeout=20000; done
check "five wait again" within 15 five_wait
kill -CONT "$daemon_pid"
wait "${tlsh_pids[@]:6}"
for number in 1 2 3 4 5; do check "all are served" tlsh_carried "$(cat "$WORK/two$number")"; done

fake_listen 4434 stall
tlsh_start running connect 127.0.0.1 4434 type=0 timeout=20000
require "a handshake is under way" within 10 fake_said hello
kill -KILL "$daemon_pid"
wait "${tlsh_pids[-1]}"
check "a handshake under way ends with the daemon: EACCES" tlsh_refused "$(cat "$WORK/running")"
fake_stop
tlsh_unload
