# shellcheck shell=bash
# shows: 3 addresses whose many connections send one byte each keep no honest mount out, and none takes twice as long
# guest: uml
honest() { # COUNT: mounts that must work one after the other; the slowest is slowest_ms.
    slowest_ms=0
    for _ in $(seq "$1"); do
        check "an honest mount works" nfs_mount mtls
        [ "$mount_ms" -le "$slowest_ms" ] || slowest_ms=$mount_ms
        check "unmount" nfs_unmount
    done
}
crowd() { [ "$(fake_count silent)" -ge "$1" ]; }

daemon_config
# The bounds in the proportion of the defaults, and above them threads of the server, in each of which one waits.
printf '%s\n' "[limits]" "handshakes=32" "handshakes_per_namespace=24" "handshakes_per_peer=10" >>"$WORK/tlshd.conf"
daemon_start
nfs_server 48
nfs_export mtls
honest 1
honest 4
alone_ms=$slowest_ms
fake_start connect 2049 stall --rpc --one-byte --source 127.0.0.2,127.0.0.3,127.0.0.4 --count 30 --pause 1 --hold 60
require "the crowd has come" within 20 crowd 24
sleep 1
honest 8
say "      the slowest took $slowest_ms ms, $alone_ms ms without the crowd"
check "none took twice as long" at_most "$slowest_ms" $((alone_ms * 2))
check "the crowd lost its own" within 5 log_has 'NFS server: .*127.0.0.[234].*too many handshakes are under way'
check "nobody else did" not log_has '127.0.0.1:.*too many handshakes are under way'
check "no worker died" not log_has 'worker .* is killed|killed by signal'
fake_stop
