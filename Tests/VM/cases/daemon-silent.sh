# shellcheck shell=bash
# shows: 8 clients that connect and say nothing, for 30 s, hold nobody up
# guest: uml
daemon_config
log_every_failure
daemon_start
nfs_server 16
nfs_export tls
fake_start connect 2049 stall --rpc --count 8 --hold 30
eight_silent() { [ "$(fake_count silent)" -ge 8 ]; }
check "8 clients are silent" within 15 eight_silent
for round in 1 2 3 4 5 6; do
    nfs_works tls
    check "round $round: mounted before a silent one is given up (took $mount_ms ms)" at_most "$mount_ms" 4000
    sleep 3
done
check "the silent ones were let go after some seconds, and came again" test "$(fake_count silent)" -gt 16
check "each got a line" within 10 log_reached 8 'NFS server: TLS with 127.0.0.1:[0-9]+ failed: the peer did not complete the handshake in time;'
