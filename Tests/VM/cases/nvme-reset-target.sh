# shellcheck shell=bash
# shows: an NVMe host that resets the connection in the handshake is noticed at once by the target's daemon
# guest: qemu
subsystem=nqn.2026-01.rig:sub
nvme_modules
daemon_start
nvme_key $subsystem
nvme_target $subsystem
fake_start connect "$NVME_PORT" reset --after 2 --partial
check "the false host connects" within 15 fake_said begun
check "no line yet" not log_has 'NVMe target: '
check "it resets" within 15 fake_said reset
check "at once a line tells so" within 5 log_has 'NVMe target: TLS with 127.0.0.1:[0-9]+ failed: the connection broke '
check "the next connection works" nvme_connect $subsystem --nr-io-queues=1
