# shellcheck shell=bash
# shows: NVMe/TCP with a SHA-384 PSK, on a GnuTLS that can (3.8.11 or newer)
# guest: qemu-7.2 qemu-sid
# check: qemu-7.2
subsystem=nqn.2026-01.rig:sub
nvme_modules
daemon_start
nvme_key $subsystem 2
nvme_target $subsystem
nvme_works $subsystem disk-1 1
check "the host's line names the suite" within 10 log_has 'NVMe host: TLS with 127.0.0.1:4420 is up: PSK, TLS_AES_256_GCM_SHA384,'
check "the target's as well" within 10 log_has 'NVMe target: TLS with 127.0.0.1:[0-9]+ is up: PSK, TLS_AES_256_GCM_SHA384,'
