# shellcheck shell=bash
# shows: a tlshd that is stopped while requests pile up is told so by status, check and probe; at its limits it lets newcomers in
# guest: uml
# check: no
probe() { ctl_says "$1" "$2" probe nfs://server.rig -c "$WORK/tlshd.conf" "${@:3}"; }
silent() { [ "$(fake_count silent)" -ge "$1" ]; }

daemon_config
printf '%s\n' "[limits]" "handshakes_per_peer=2" >>"$WORK/tlshd.conf"
daemon_start
# Each waits in a thread of the server's.
nfs_server 24
nfs_export mtls
check "all is well" ctl_says 0 '^ok:' check -c "$WORK/tlshd.conf"
# They do not come back, as the probe may be older than 0.1 s then, and the oldest.
fake_start connect 2049 stall --rpc --partial --count 2 --hold 4 --pause 5
require "two peers have begun" within 10 silent 2
# What is younger than 0.1 s does not go.
sleep 1
check "a newcomer takes the place of the oldest" probe 0 '^ok:'
check "and the log says that" within 5 log_has 'NFS server: TLS with 127.0.0.1:[0-9]+ failed: too many handshakes are under way \(others needed the place\)'
wait "$fake_pid"

kill -STOP "$daemon_pid"
check "a stopped daemon" ctl_says 1 "^FAILED: tlshd \(process $daemon_pid\) is stopped: requests will wait" check --only listeners
fake_start connect 2049 stall --rpc --count 16 --hold 30
require "requests pile up" within 10 silent 16
queue='requests wait for it, and the kernel refuses more than [0-9]+ of them .EAGAIN.; remedy: kill -CONT'
check "check says that they do" ctl_says 1 "^FAILED: tlshd \(process $daemon_pid\) is stopped: $queue" check --only listeners
check "so does status" ctl_says 1 "^FAILED: tlshd \(process $daemon_pid\) is stopped: $queue" status
check "a probe gets no answer" probe 1 '^FAILED: .*the server offers TLS and does not answer'
fake_stop
kill -CONT "$daemon_pid"
check "it goes on" within 10 nfs_mount mtls
check "and all is well" within 10 ctl_says 0 '^ok:' check --only listeners
