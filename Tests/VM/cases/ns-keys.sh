# shellcheck shell=bash
# shows: NVMe PSKs of one namespace never serve another
# guest: qemu qemu-7.2
# check: qemu
subsystem=nqn.2026-01.rig:sub
nvme_modules
ns_make 1
ns_make 2
nvme_key $subsystem 1

config() { # KEYRINGS-OF-T1 KEYRINGS-OF-T2
    printf '%s\n' "[namespaces]" "named=yes" "initial=no" "[profile one]" "match.namespace=t1" "keyrings=$1" \
        "[profile two]" "match.namespace=t2" "keyrings=$2" >"$WORK/tlshd.conf"
}

config .nvme .nvme
daemon_start
ns_nvme_target
require "the kernel makes the target's port in the namespace of who asks" ns_nvme_listens
check "with the keyring for both, it connects" ns_nvme_connect
require "the namespace is a block device" within 10 nvme_has_device $subsystem
check "same data in the device and on the target's disk" nvme_data $subsystem disk-1
check "the lines name both namespaces" within 10 log_has 'NVMe target in namespace t1, profile one: .* is up'
check "and the host" within 10 log_has 'NVMe host in namespace t2, profile two: .* is up'
check "disconnect" nvme_disconnect $subsystem
daemon_stop

log_mark
config .nvme ""
daemon_start
check "a host's namespace without the keyring gets no key of it" not ns_nvme_connect
check "and the log says why" within 10 log_has 'NVMe host in namespace t2, profile two: .* it is in no keyring of this namespace or profile'
check "nothing was sent to the target" not log_has 'NVMe target .* is up'
daemon_stop

log_mark
config "" .nvme
daemon_start
check "a target's namespace without the keyring has no key of it" not ns_nvme_connect
check "and the log says so" within 10 log_has 'NVMe target in namespace t1, profile one: .* no PSK is known'
daemon_stop
