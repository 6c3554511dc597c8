# shellcheck shell=bash
# shows: 8 NVMe hosts that connect and say nothing, for 20 s, hold no other host up
# guest: qemu
# check: no
subsystem=nqn.2026-01.rig:sub
eight_silent() { [ "$(fake_count silent)" -ge 8 ]; }

nvme_modules
daemon_start
nvme_key $subsystem
nvme_target $subsystem
# The first connection after a boot also waits for the kernel's ciphers to be loaded.
nvme_works $subsystem disk-1 1
check "disconnect" nvme_disconnect $subsystem
fake_start connect "$NVME_PORT" stall --count 8 --hold 20
check "8 hosts are silent" within 15 eight_silent
for round in 1 2 3; do
    nvme_works $subsystem disk-1 1
    check "round $round: connected before a silent one is given up (took $connect_ms ms)" at_most "$connect_ms" 8000
    check "disconnect" nvme_disconnect $subsystem
    sleep 3
done
