# shellcheck shell=bash
# shows: a connected host whose PSK the target forgets gives up at once; one whose PSK was changed goes on trying
# guest: qemu
subsystem=nqn.2026-01.rig:sub
forget_keys() { keyctl clear "$(nvme_keyring .nvme)"; }

# connected: connects with a key that both sides hold.
connected() {
    nvme_raw_key .nvme $subsystem "$WORK/right"
    check "connect" nvme_connect_raw $subsystem "nr_io_queues=1,keyring=$host_ring,reconnect_delay=1,ctrl_loss_tmo=30"
    require "the namespace is there" within 10 nvme_has_device $subsystem
}

controller_gone() { [ "$(nvme_controllers)" = 0 ]; }
state_is() { [ "$(cat /sys/class/nvme/nvme*/state)" = "$1" ]; }
break_connection() { echo 1 >"$(compgen -G '/sys/class/nvme/nvme*' | head -1)/reset_controller"; }

nvme_modules
nvme_host_ring
daemon_start
nvme_target $subsystem
head -c 32 /dev/urandom >"$WORK/right"
head -c 32 /dev/urandom >"$WORK/wrong"
nvme_raw_key "$host_ring" $subsystem "$WORK/right"
tls_mark
connected
check "kTLS keyed both ends of 2 queues" tls_rose 4

log_mark
forget_keys
break_connection 2>/dev/null
check "a host whose PSK is unknown now gives up" within 10 controller_gone
check "after one refusal" within 10 log_has 'NVMe host: TLS with 127.0.0.1:4420 failed: the peer knows no PSK for our identity '
check "and not more" equal "$(log_count 'NVMe host: TLS with .* failed: ')" 1

forget_keys
connected
log_mark
# Adding a key under the same identity replaces the former one; between removing and adding the host would give up.
nvme_raw_key .nvme $subsystem "$WORK/wrong"
break_connection 2>/dev/null
check "a host whose PSK was changed is refused" within 10 log_has 'NVMe host: TLS with 127.0.0.1:4420 failed: the peer holds another PSK under the same identity'
check "and stays" not within 4 controller_gone
check "trying" state_is connecting
nvme_raw_key .nvme $subsystem "$WORK/right"
check "and is back when the PSK is right again" within 15 state_is live
