# shellcheck shell=bash
# shows: NVMe/TCP with a SHA-256 PSK; a connection without TLS is refused
# guest: qemu qemu-7.2
subsystem=nqn.2026-01.rig:sub
nvme_modules
daemon_start
nvme_key $subsystem 1
nvme_target $subsystem
nvme_works $subsystem disk-1 1
check "disconnect" nvme_disconnect $subsystem
tls_mark
check "without TLS the target refuses" not nvme_quiet connect -t tcp -a 127.0.0.1 -s 4420 -n $subsystem \
    --hostnqn="$NVME_HOST" --hostid="$NVME_HOST_ID"
check "and no TLS session was made" tls_unmoved
