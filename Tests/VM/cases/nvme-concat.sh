# shellcheck shell=bash
# shows: secure concatenation (blktests' nvme/063): DH-HMAC-CHAP makes the PSK, a reset makes another; SHA-256 and SHA-384
# guest: qemu-7.2
subsystem=nqn.2026-01.rig:sub
host=$nvmet/hosts/$NVME_HOST

# authentication HMAC HASH GROUP: a new secret for host and target, and what the target demands.
authentication() {
    secret=$(nvme gen-dhchap-key --hmac="$1" --nqn=$NVME_HOST) &&
        echo "$secret" >"$host/dhchap_key" && echo "$2" >"$host/dhchap_hash" && echo "$3" >"$host/dhchap_dhgroup"
}

connect_concat() {
    nvme_quiet connect -t tcp -a $NVME_ADDRESS -s $NVME_PORT -n $subsystem --hostnqn=$NVME_HOST --hostid=$NVME_HOST_ID \
        --dhchap-secret="$secret" --concat
}

controller() { basename "$(compgen -G '/sys/class/nvme/nvme*' | head -1)"; }
is_live() { [ "$(cat "/sys/class/nvme/$(controller)/state")" = live ]; }
used_key() { cat /sys/class/nvme/nvme*/tls_key 2>/dev/null; }
uses_another() { is_live && [ -n "$(used_key)" ] && [ "$(used_key)" != "$1" ]; }

# works HASH SUITE: the connection uses a PSK that the authentication has made, and after a reset another.
works() {
    local before
    log_mark
    tls_mark
    check "nvme connect --concat" connect_concat
    require "the namespace is there" within 20 nvme_has_device $subsystem
    check "the controller names its PSK" test -n "$(used_key)"
    check "kTLS keyed both ends of the queues" tls_rose 4
    check "the host tells the suite and the generated PSK" within 10 log_reached 1 "NVMe host: TLS with .* is up: PSK, $2, .*NVMe[01]G0$1 "
    check "the target as well" within 10 log_reached 1 "NVMe target: TLS with .* is up: PSK, $2, .*NVMe[01]G0$1 "
    check "same data in the device and on the target's disk" nvme_data $subsystem disk-1

    before=$(used_key)
    log_mark
    tls_mark
    check "nvme reset" nvme_quiet reset "/dev/$(controller)"
    check "the controller is live with another PSK (was $before)" within 30 uses_another "$before"
    check "kTLS keyed both ends anew" tls_rose 4
    check "by handshakes that the log has" within 10 log_reached 1 "NVMe host: TLS with .* is up: PSK, $2, .*NVMe[01]G0$1 "
    check "same data after the reset" nvme_data $subsystem disk-1
    check "no record failed to decrypt" tls_no_errors
    check "disconnect" nvme_disconnect $subsystem
}

nvme_modules
modprobe -a nvme-auth dh_generic hmac 2>/dev/null
daemon_start
require "the kernel has secure concatenation" grep -q concat /dev/nvme-fabrics
nvme_target $subsystem
rm $nvmet/ports/1/subsystems/*
rmdir $nvmet/ports/1
nvme_port
# The first connection of the host is without TLS: in it the PSK is made.
echo "not required" >$nvmet/ports/1/addr_treq

require "a secret with SHA-256" authentication 1 'hmac(sha256)' ffdhe2048
ln -s $nvmet/subsystems/$subsystem $nvmet/ports/1/subsystems/
works 1 TLS_AES_128_GCM_SHA256
require "a secret with SHA-384" authentication 2 'hmac(sha384)' ffdhe3072
works 2 TLS_AES_256_GCM_SHA384
check "no failed handshake" not log_all_has 'TLS with .* failed'
