# shellcheck shell=bash
# shows: NVMe PSKs of one namespace never serve another; the peer's ktls-utils in another namespace interoperates
# guest: qemu qemu-7.2
# limit: 400
subsystem=nqn.2026-01.rig:sub
nvme_modules
ns_make 1
ns_make 2
nvme_key $subsystem 1
ring=$(nvme_keyring .nvme)

config() { # KEYRINGS-OF-T1 KEYRINGS-OF-T2
    printf '%s\n' "[namespaces]" "named=yes" "initial=no" "[profile one]" "match.namespace=t1" "keyrings=$1" \
        "[profile two]" "match.namespace=t2" "keyrings=$2" >"$WORK/tlshd.conf"
}

# The target's port is made by a process in t1 alone, so that its socket is there; the host connects from t2.
target_in_t1() {
    nvme_target $subsystem
    rm "$nvmet/ports/1/subsystems/$subsystem"
    echo 10.9.0.1 >"$nvmet/ports/1/addr_traddr"
    nsenter --net=/run/netns/t1 ln -s "$nvmet/subsystems/$subsystem" $nvmet/ports/1/subsystems/
}
listens_in_t1() { nsenter --net=/run/netns/t1 ss -ltn | grep -q ':4420'; }
connect_from_t2() {
    nsenter --net=/run/netns/t2 timeout 60 nvme connect -t tcp -a 10.9.0.1 -s 4420 -n $subsystem \
        --hostnqn=$NVME_HOST --hostid=$NVME_HOST_ID --tls --nr-io-queues=1 >"$WORK/connect" 2>&1
}

config .nvme .nvme
daemon_start
target_in_t1
require "the kernel makes the target's port in the namespace of who asks" listens_in_t1
check "with the keyring for both, it connects" connect_from_t2
cat "$WORK/connect"
require "the namespace is a block device" within 10 nvme_has_device $subsystem
check "same data in the device and on the target's disk" nvme_data $subsystem disk-1
check "the lines name both namespaces" log_has 'NVMe target in namespace t1, profile one: .* is up'
check "and the host" log_has 'NVMe host in namespace t2, profile two: .* is up'
check "disconnect" nvme_disconnect $subsystem
daemon_stop

log_mark
config .nvme ""
daemon_start
check "a host's namespace without the keyring gets no key of it" not connect_from_t2
check "and the log says why" log_has 'NVMe host in namespace t2, profile two: .* it is in no keyring of this namespace or profile'
check "nothing was sent to the target" not log_has 'NVMe target .* is up'
daemon_stop

log_mark
config "" .nvme
daemon_start
check "a target's namespace without the keyring has no key of it" not connect_from_t2
check "and the log says so" log_has 'NVMe target in namespace t1, profile one: .* no PSK is known'
daemon_stop

log_mark
config .nvme .nvme
sed -i 's/^named=yes/names=t1/' "$WORK/tlshd.conf"
daemon_start
(
    keyctl new_session >/dev/null
    printf '%s\n' "[debug]" "loglevel=1" "[authenticate.client]" "[authenticate.server]" >"$WORK/peer.conf"
    exec nsenter --net=/run/netns/t2 /usr/sbin/tlshd -s -c "$WORK/peer.conf"
) >"$WORK/peer.log" 2>&1 &
sleep $((2 + RIG_SLOW * 2))
check "ktls-utils as host reaches our target" connect_from_t2
require "the namespace is a block device again" within 10 nvme_has_device $subsystem
check "same data" nvme_data $subsystem disk-1
check "disconnect" nvme_disconnect $subsystem
check "our target's lines" log_has 'NVMe target in namespace t1, profile one: .* is up'
kill %?peer.conf 2>/dev/null
daemon_stop
end_peer=$(pgrep -x tlshd)
[ -z "$end_peer" ] || kill "$end_peer"
sleep 1

log_mark
sed -i 's/^names=t1/names=t2/' "$WORK/tlshd.conf"
daemon_start
(
    keyctl new_session >/dev/null
    exec nsenter --net=/run/netns/t1 /usr/sbin/tlshd -s -c "$WORK/peer.conf"
) >>"$WORK/peer.log" 2>&1 &
sleep $((2 + RIG_SLOW * 2))
check "our host reaches ktls-utils as target" connect_from_t2
require "the namespace is a block device once more" within 10 nvme_has_device $subsystem
check "same data there" nvme_data $subsystem disk-1
check "our host's lines" log_has 'NVMe host in namespace t2, profile two: .* is up'
check "disconnect" nvme_disconnect $subsystem
say "      keyring .nvme is $ring"
tail -20 "$WORK/peer.log"
