# shellcheck shell=bash
# shows: no byte of the known data is in a packet capture of NVMe/TCP with TLS
# guest: qemu
subsystem=nqn.2026-01.rig:sub
marker=KNOWN-DATA-$RANDOM-$RANDOM-NEVER-IN-CLEAR
nvme_modules
daemon_start
nvme_key $subsystem
nvme_target $subsystem
capture_start "$WORK/nvme.pcap" "$NVME_PORT"
tls_mark
check "nvme connect --tls" nvme_connect $subsystem --nr-io-queues=1
require "the namespace is a block device" within 10 nvme_has_device $subsystem
check "same data in the device and on the target's disk" nvme_data $subsystem disk-1 "$marker"
check "the marker is on the target's disk" grep -qaF "$marker" "$WORK/disk-1"
check "kTLS keyed both ends of 2 queues" tls_rose 4
check "disconnect" nvme_disconnect $subsystem
capture_stop
check "the capture is whole" capture_complete
check "and holds as much as was sent and read" test "$(capture_bytes)" -gt 4000000
check "no marker in the capture" not capture_has "$marker"
check "no part of it either" not capture_has KNOWN-DATA
