# shellcheck shell=bash
# shows: the distribution's ktls-utils serves one namespace, ours another: NVMe with a PSK in both directions
# guest: qemu qemu-7.2
# check: no
subsystem=nqn.2026-01.rig:sub
nvme_modules
ns_make 1
ns_make 2
nvme_key $subsystem 1
printf '%s\n' "[debug]" "loglevel=1" "[authenticate.client]" "[authenticate.server]" >"$WORK/peer.conf"

# ours N: our daemon serves tN alone, theirs the other; t1 has the target and t2 the host.
ours() {
    printf '%s\n' "[namespaces]" "names=t$1" "initial=no" "[profile mine]" "match.namespace=t$1" "keyrings=.nvme" \
        >"$WORK/tlshd.conf"
    daemon_start
    check "ours serves t$1" log_has_all "namespace t$1 is served"
    check "and not t$((3 - $1))" not log_has_all "namespace t$((3 - $1)) is served"
    ns_peer $((3 - $1)) "$WORK/peer.conf"
}
log_has_all() { tail -n "+$run_from" "$DAEMON_LOG" | grep -q -- "$1"; }

# The kernel counts TLS by namespace; here for both of ours.
tls_count() {
    for number in 1 2; do nsenter --net="/run/netns/t$number" cat /proc/self/net/tls_stat; done |
        awk -v n="$1" '$1 == n { sum += $2 } END { print sum + 0 }'
}
both_ways() {
    tls_mark
    check "$1" ns_nvme_connect
    require "the namespace is a block device" within 10 nvme_has_device $subsystem
    check "same data in the device and on the target's disk" nvme_data $subsystem disk-1
    check "kTLS keyed both ends of two queues" tls_rose 4
    check "no record failed to decrypt" tls_no_errors
    check "disconnect" nvme_disconnect $subsystem
}

run_from=1
ours 1
ns_nvme_target
require "the target is in t1" ns_nvme_listens
both_ways "ktls-utils as host reaches our target"
check "our target's line, for each queue" within 10 log_reached 2 'NVMe target in namespace t1, profile mine: .* is up'
check "we have no line of the host" not log_has 'NVMe host'
ns_peer_stop
daemon_stop

run_from=$(($(wc -l <"$DAEMON_LOG") + 1))
ours 2
both_ways "our host reaches ktls-utils as target"
check "our host's line, for each queue" within 10 log_reached 2 'NVMe host in namespace t2, profile mine: .* is up'
check "we have no line of the target" not log_has 'NVMe target'
ns_peer_stop
sed 's/^/          ktls-utils: /' "$WORK/peer.log" | tail -n 20
# Trixie's says the first, sid's the second.
succeeded=$(grep -ciE 'handshake (with .* was successful|request succeeded)' "$WORK/peer.log")
check "their daemon tells of its four handshakes (were $succeeded)" test "$succeeded" -ge 4
