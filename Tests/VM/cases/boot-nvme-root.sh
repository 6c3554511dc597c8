# shellcheck shell=bash
# shows: a machine without a disk boots from a namespace of this one over NVMe/TCP with TLS; the key is in its initramfs
# guest: diskless-nvme
# limit: 240
NVME_ADDRESS=10.9.0.1
subsystem=nqn.2026-01.rig:root
check "its initramfs has tlshd" grep -q usr/sbin/tlshd /out/initramfs.list
check "and nvme-cli" grep -q sbin/nvme /out/initramfs.list
cp /out/psk "$WORK/psk"
chown 0:0 "$WORK/psk"
daemon_config psk_file="$WORK/psk"
nvme_modules
daemon_start
cp --sparse=always /out/disk "$WORK/disk-1"
boot_wire
nvme_target $subsystem
boot_reported "$WORK/disk-1"
check "its root is the namespace" grep -qE '^/dev/nvme0n1 / ext4 ' "$WORK/report"
check "the controller has a TLS key" grep -qE '^/sys/class/nvme/nvme0/tls_key [0-9a-f]+' "$WORK/report"
check "by tlshd" grep -q 'NVMe host: TLS with 10.9.0.1:4420 is up: PSK' "$WORK/report"
check "and this end was keyed by ours" log_has 'NVMe target: TLS with 10.9.0.2:.* is up: PSK'
before=$(log_count 'NVMe target: TLS with 10.9.0.2:.* is up: PSK')

require "tlshd of that root takes over, and the connection is made anew" within 60 boot_console_has 'the second report is written'
check "it came back at this end" test "$(log_count 'NVMe target: TLS with 10.9.0.2:.* is up: PSK')" -gt "$before"
boot_text "$WORK/disk-1" 'connected again at [0-9]' >"$WORK/again"
cat "$WORK/again"
check "by tlshd of the root, which has been written to since" grep -q 'NVMe host: TLS with 10.9.0.1:4420 is up: PSK' "$WORK/again"
