# shellcheck shell=bash
# shows: NVMe/TCP with 4 I/O queues: five connections and ten handshakes for one connect
# guest: qemu
subsystem=nqn.2026-01.rig:sub
nvme_modules
daemon_start
nvme_key $subsystem
nvme_target $subsystem
nvme_works $subsystem disk-1 4
check "the kernel has 4 I/O queues" test "$(cat /sys/class/nvme/nvme*/queue_count)" = 5
check "disconnect" nvme_disconnect $subsystem
