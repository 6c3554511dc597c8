# shellcheck shell=bash
# shows: a tlshd that is stopped while requests pile up, or that is at its limits, is told so by status, check and probe
# guest: uml
probe() { ctl_says "$1" "$2" probe nfs://server.rig -c "$WORK/tlshd.conf" "${@:3}"; }
silent() { [ "$(fake_count silent)" -ge "$1" ]; }

daemon_config
printf '%s\n' "[limits]" "handshakes_per_peer=2" >>"$WORK/tlshd.conf"
daemon_start
# Each waits in a thread of the server's.
nfs_server 24
nfs_export mtls
check "all is well" ctl_says 0 '^ok:' check -c "$WORK/tlshd.conf"
fake_start connect 2049 stall --rpc --partial --count 2 --hold 4
require "two peers have begun" within 10 silent 2
# One whose bytes tlshd has not read yet is silent, and goes in the place of a newcomer.
sleep 1
check "a peer at its limit is hung up on" probe 1 '^FAILED: .*the server offers TLS and does not answer.* at its limits'
check "and status says that" ctl_says 3 '^WARNING: NFS server: .*too many handshakes are under way .2 with this peer, .limits. handshakes_per_peer' status
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
