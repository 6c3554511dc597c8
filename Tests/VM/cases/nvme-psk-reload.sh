# shellcheck shell=bash
# shows: a host reconnects while tlshd is reloaded and restarted and its PSK file written anew: serials stay, no controller is lost
# guest: qemu
# check: no
# limit: 900
subsystem=nqn.2026-01.rig:sub
identity="NVMe0R01 $NVME_HOST $subsystem"
key=$(openssl rand -hex 32)
key_there() { [ -n "$(nvme_key_serial "$identity")" ]; }
write_keys() { (umask 077 && printf '%s\n' "$identity:$key" "$@" >"$WORK/keys.new" && mv "$WORK/keys.new" "$WORK/keys"); }
key_other() { key_there && [ "$(nvme_key_serial "$identity")" != "$serial" ]; }
controller_live() { [ "$(cat /sys/class/nvme/nvme*/state 2>/dev/null)" = live ]; }
reconnect() { echo 1 >"$(compgen -G '/sys/class/nvme/nvme*' | head -1)/reset_controller"; }
# disturb NUMBER: what makes the daemon read its keys again, while queues are being set up.
disturb() {
    local _
    for _ in 1 2 3 4 5 6; do
        write_keys "# $1.$_"
        kill -HUP "$daemon_pid" 2>/dev/null
        sleep 0.2
    done
}

write_keys
daemon_config psk_file="$WORK/keys"
nvme_modules
daemon_start
require "the key is in .nvme" within 10 key_there
serial=$(nvme_key_serial "$identity")
nvme_target $subsystem
check "connect" nvme_connect_raw $subsystem "nr_io_queues=2,reconnect_delay=1,ctrl_loss_tmo=600"
require "the namespace is there" within 10 nvme_has_device $subsystem
for round in 1 2 3; do
    reconnect 2>/dev/null &
    resetting=$!
    disturb $round
    wait $resetting
    require "round $round: reloads while it reconnects: it is live again" within 60 controller_live
    reconnect 2>/dev/null &
    resetting=$!
    daemon_stop
    daemon_start
    wait $resetting
    require "round $round: a restart: it is live again" within 60 controller_live
    check "the key has the same serial" equal "$(nvme_key_serial "$identity")" "$serial"
done
check "the same controller" equal "$(nvme_controllers)" 1
check "same data in the device and on the target's disk" nvme_data $subsystem disk-1

log_mark
key=$(openssl rand -hex 32)
write_keys
check "a key that is changed is replaced" within 10 key_other
