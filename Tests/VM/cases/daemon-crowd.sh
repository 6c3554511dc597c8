# shellcheck shell=bash
# shows: 3 addresses whose many connections send one byte each keep no honest mount out, and none takes twice as long
# guest: uml
# check: no
crowd() { [ "$(fake_count silent)" -ge "$1" ]; }

daemon_config
# The bounds in the proportion of the defaults, and above them threads of the server, in each of which one waits.
printf '%s\n' "[limits]" "handshakes=32" "handshakes_per_namespace=24" "handshakes_per_peer=10" >>"$WORK/tlshd.conf"
daemon_start
nfs_server 48
nfs_export mtls
mounts_timed warm 1 mtls
mounts_timed alone 5 mtls
alone=$median_ms
fake_start connect 2049 stall --rpc --one-byte --source 127.0.0.2,127.0.0.3,127.0.0.4 --count 30 --pause 1 --hold 60
require "the crowd has come" within 20 crowd 24
# What is younger than 0.1 s does not go.
sleep 1
mounts_timed beside 8 mtls
as_fast_as "$alone"
check "the crowd lost its own" within 5 log_has 'NFS server: TLS with 127.0.0.[234]:[0-9]+ failed: too many handshakes are under way '
check "nobody else did" not log_has 'TLS with .*127.0.0.1:.* failed: too many handshakes are under way'
check "no worker died" not log_has 'worker .* (is killed: |was killed by signal)'
fake_stop
