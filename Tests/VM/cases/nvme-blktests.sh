# shellcheck shell=bash
# shows: what blktests' nvme/062 asks of a TLS daemon: a target that offers TLS, and one that demands it, each with and without
# guest: qemu qemu-7.2
subsystem=nqn.2026-01.rig:sub

# port KIND: the port of the target anew: TLS is "not required" or "required".
port() {
    rm -f $nvmet/ports/1/subsystems/*
    rmdir $nvmet/ports/1 && nvme_port && echo "$1" >$nvmet/ports/1/addr_treq &&
        ln -s $nvmet/subsystems/$subsystem $nvmet/ports/1/subsystems/
}

connect_plain() {
    nvme_quiet connect -t tcp -a $NVME_ADDRESS -s $NVME_PORT -n $subsystem --hostnqn=$NVME_HOST --hostid=$NVME_HOST_ID
}

# used_key: the serial number of the PSK that the only controller's connection uses; nothing without TLS.
used_key() { cat /sys/class/nvme/nvme*/tls_key 2>/dev/null; }

connected_with_tls() {
    tls_mark
    log_mark
    check "nvme connect --tls" nvme_connect $subsystem
    require "the namespace is there" within 10 nvme_has_device $subsystem
    check "the controller names its PSK" test -n "$(used_key)"
    check "kTLS keyed both ends of the admin queue and an I/O queue" tls_rose 4
    check "the daemon's line tells the PSK" within 10 log_has 'NVMe host: TLS with .* is up: PSK, '
    check "same data in the device and on the target's disk" nvme_data $subsystem disk-1
    check "disconnect" nvme_disconnect $subsystem
}

connected_without() {
    tls_mark
    check "nvme connect without TLS" connect_plain
    require "the namespace is there" within 10 nvme_has_device $subsystem
    check "the controller has no PSK" test -z "$(used_key)"
    check "no TLS session was made" tls_unmoved
    check "disconnect" nvme_disconnect $subsystem
}

# As blktests does before these tests: ktls-utils 1.0.0 or later.
version=$("$(daemon_command)" --version 2>&1 | grep -o 'utils [0-9.]*' | cut -d ' ' -f 2)
check "tlshd names a release of ktls-utils that has what is needed (is: $version)" matches "$version" '[1-9][0-9]*\.[0-9]+\.[0-9]+'

nvme_modules
daemon_start
nvme_key $subsystem 1 1
nvme_target $subsystem

require "the target offers TLS and does not demand it" port "not required"
connected_without
connected_with_tls

require "the target demands TLS" port required
tls_mark
check "nvme connect without TLS is refused" not connect_plain
check "no controller is left" within 10 equal "$(nvme_controllers)" 0
check "no TLS session was made" tls_unmoved
connected_with_tls
