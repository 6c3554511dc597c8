# shellcheck shell=bash
# shows: NVMe/TCP with a SHA-384 PSK, on a GnuTLS that can (3.8.11 or newer)
# guest: qemu-7.2 qemu-sid
subsystem=nqn.2026-01.rig:sub
nvme_modules
daemon_start
nvme_key $subsystem 2
nvme_target $subsystem
nvme_works $subsystem disk-1 1
check "the daemon's line names the suite" within 10 log_has 'AES.256.GCM'
