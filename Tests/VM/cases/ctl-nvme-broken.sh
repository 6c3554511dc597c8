# shellcheck shell=bash
# shows: tlshctl status, check and probe say in their first line what is wrong with NVMe: keys, their file, plain text, a stopped tlshd, limits
# guest: qemu
# check: no
subsystem=nqn.2026-01.rig:sub
status_says() { ctl_says "$1" "$2" status; }
check_says() { ctl_says "$1" "$2" check -c "$WORK/tlshd.conf" --only "$3"; }
probe() { ctl_says "$1" "$2" probe nvme://127.0.0.1 -c "$WORK/tlshd.conf" --hostnqn "$NVME_HOST" --subsysnqn $subsystem; }
silent() { [ "$(fake_count silent)" -ge "$1" ]; }

nvme_modules
nvme_host_ring
daemon_config
printf '%s\n' "[limits]" "handshakes_per_peer=2" >>"$WORK/tlshd.conf"
daemon_start
nvme_target $subsystem
nvme_raw_key "$host_ring" $subsystem
check "a target without the key" not nvme_connect_raw $subsystem "keyring=$host_ring"
check "unknown key" status_says 3 '^WARNING: NVMe host: TLS with 127.0.0.1.* failed: the peer knows no PSK for our identity'
nvme_raw_key .nvme $subsystem
check "a target with another key" not nvme_connect_raw $subsystem "keyring=$host_ring"
check "wrong key" status_says 3 '^WARNING: NVMe host: TLS with 127.0.0.1.* failed: the peer holds another PSK'
check "the right key" probe 0 '^ok: TLS with nvme'

fake_start connect "$NVME_PORT" stall --partial --count 2 --hold 8
require "two hosts have begun" within 10 silent 2
# What is younger than 0.1 s does not go.
sleep 1
check "a newcomer takes the place of the oldest" probe 0 '^ok: TLS with nvme'
check "and the log says that" within 5 log_has 'NVMe target: TLS with 127.0.0.1:[0-9]+ failed: too many handshakes are under way \(others needed the place\)'
wait "$fake_pid"

kill -STOP "$daemon_pid"
fake_start connect "$NVME_PORT" stall --count 12 --hold 5
require "requests pile up" within 10 silent 12
stopped="^FAILED: tlshd \(process $daemon_pid\) is stopped: requests wait for it, and the kernel refuses more than [0-9]+ of them"
check "check says that they do" check_says 1 "$stopped" listeners
check "a probe is hung up on" probe 1 '^FAILED: .*the .*connection .*check if tlshd runs, is stopped'
check "status says why nothing is answered" status_says 1 "$stopped"
fake_stop
kill -CONT "$daemon_pid"
check "it goes on" within 10 check_says 0 '^ok:' listeners

# The target's; the host's has the same identity.
ring=$(nvme_keyring .nvme)
keyctl link "$ring" @s
key=$(keyctl search "$ring" psk "NVMe0R01 $NVME_HOST $subsystem")
key_reads() { keyctl pipe "$key" >/dev/null 2>&1; }
require "the target's key can be read" key_reads
require "it is given a second" keyctl timeout "$key" 1
require "it expires" within 10 not key_reads
check "an expired key" probe 1 '^FAILED: .*holds no PSK of host'
check "a connection that needs it" not nvme_connect_raw $subsystem "keyring=$host_ring"
check "expired" status_says 3 '^WARNING: NVMe target: TLS with 127.0.0.1.* failed: the PSK cannot be read .*Key has expired'
nvme_raw_key .nvme $subsystem

daemon_stop
(umask 022 && echo "NVMe0R01 $NVME_HOST $subsystem:$(openssl rand -hex 32)" >"$WORK/keys")
daemon_config psk_file="$WORK/keys"
check "a file of keys that all may read" check_says 1 "^FAILED: $WORK/keys contains keys and is accessible to users other than root" keys
daemon_start
check "status says that, too" status_says 3 "^WARNING: .*$WORK/keys"

chmod 600 "$WORK/keys"
check "and no longer when it is mended" within 10 ctl_says 0 '^ok:' status
require "a port without TLS" nvme_target_plain $subsystem
check "a connection to it" not nvme_connect_raw $subsystem
check "plain text is one of the reasons" status_says 3 '^WARNING: NVMe host: TLS with 127.0.0.1.* failed: the peer closed .*it speaks no TLS; run tlshctl probe'
check "which probe tells" probe 1 '^FAILED: .*the peer speaks plain text'
