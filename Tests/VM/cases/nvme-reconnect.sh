# shellcheck shell=bash
# shows: a connected host whose PSK the target forgets gives up at once; one whose PSK was changed goes on trying
# guest: qemu
subsystem=nqn.2026-01.rig:sub
identity="NVMe0R01 $NVME_HOST $subsystem"

# put_key KEYRING FILE: the PSK of that file in that keyring.
put_key() {
    keyctl link "$(nvme_keyring "$1")" @s
    keyctl padd psk "$identity" "$(nvme_keyring "$1")" <"$2" >/dev/null
    keyctl unlink "$(nvme_keyring "$1")" @s
}

forget_keys() { keyctl clear "$(nvme_keyring .nvme)"; }

# connected: connects with a key that both sides hold.
connected() {
    put_key .nvme "$WORK/right"
    check "nvme connect" nvme_connect $subsystem --nr-io-queues=1 --keyring="$(nvme_keyring rig-host)" \
        --reconnect-delay=1 --ctrl-loss-tmo=30
    require "the namespace is there" within 10 nvme_has_device $subsystem
}

controller_gone() { [ "$(nvme_controllers)" = 0 ]; }
state_is() { [ "$(cat /sys/class/nvme/nvme*/state)" = "$1" ]; }
break_connection() { echo 1 >"$(compgen -G '/sys/class/nvme/nvme*' | head -1)/reset_controller"; }

nvme_modules
keyctl newring rig-host @u >/dev/null
daemon_start
nvme_target $subsystem
head -c 32 /dev/urandom >"$WORK/right"
head -c 32 /dev/urandom >"$WORK/wrong"
put_key rig-host "$WORK/right"
tls_mark
connected
check "kTLS keyed both ends of 2 queues" tls_rose 4

log_mark
forget_keys
break_connection 2>/dev/null
check "a host whose PSK is unknown now gives up" within 10 controller_gone
check "after one refusal" test "$(log_count 'unknown|not found|failed to search')" -ge 1

forget_keys
connected
log_mark
forget_keys
put_key .nvme "$WORK/wrong"
break_connection 2>/dev/null
check "a host whose PSK was changed is refused" within 10 log_has 'decrypt|binder|wrong|mismatch|differ|verif|fail'
check "and stays" not within 4 controller_gone
check "trying" state_is connecting
forget_keys
put_key .nvme "$WORK/right"
check "and is back when the PSK is right again" within 15 state_is live
