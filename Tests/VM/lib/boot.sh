# shellcheck shell=bash
# Sourced: the second machine of the guests "diskless", whose root is what this one serves. See boot/make-initramfs.

# boot_wire: the address that it asks; to be called when all that it wants is served.
boot_wire() {
    modprobe virtio_net
    ip link set eth0 up
    require "a wire to the other machine" ip address add 10.9.0.1/24 dev eth0
}

boot_console_has() { grep -qaE "$1" /out/console-diskless; }

# boot_text FILE BEGIN: the lines from BEGIN to one with "end of"; FILE may be the disk that holds them.
boot_text() { LC_ALL=C grep -a -A80 "$2" "$1" | LC_ALL=C sed "s/.*\\($2\\)/\\1/; /^end of/q"; }

# boot_reported FILE: its report, once it has written one.
boot_reported() {
    require "the other machine runs from it" within 180 boot_console_has 'the report is written'
    boot_text "$1" 'kernel 6\.' >"$WORK/report"
    cat "$WORK/report"
    check "keyed in its kernel" grep -qE 'TlsRxSw[[:space:]]+[1-9]' "$WORK/report"
    check "tlshd of the initramfs has ended since" not grep -q '/tlshd --stderr$' "$WORK/report"
}

# boot_nfs: the whole case of a root that is an export of this machine.
boot_nfs() {
    check "its initramfs has tlshd" grep -q usr/sbin/tlshd /out/initramfs.list
    check "and its parts" grep -q usr/libexec/tlshd/tlshd-worker /out/initramfs.list
    check "with the settings" grep -q etc/tlshd/config /out/initramfs.list
    daemon_start
    nfs_export mtls
    cp -a /out/root/. "$EXPORT/"
    boot_wire
    boot_reported "$EXPORT/report"
    check "its root is this export, over mutual TLS" grep -qE '^server.rig:/ / nfs4 .*xprtsec=mtls' "$WORK/report"
    check "by tlshd" grep -q 'NFS client: TLS with server.rig .* is up' "$WORK/report"
    check "and this end was keyed by ours" within 10 log_has 'NFS server: TLS with 10.9.0.2:.* is up'
}

# boot_nvme: the whole case of a root that is a namespace of this machine; its own tlshd makes the connection anew.
boot_nvme() {
    local subsystem=nqn.2026-01.rig:root before
    NVME_ADDRESS=10.9.0.1
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
    check "and this end was keyed by ours" within 10 log_has 'NVMe target: TLS with 10.9.0.2:.* is up: PSK'
    # As the other end had them when it wrote the report: the connection may have been made anew since.
    before=$(grep -c 'NVMe host: TLS with 10.9.0.1:4420 is up: PSK' "$WORK/report")

    require "tlshd of that root takes over, and the connection is made anew" within 60 boot_console_has 'the second report is written'
    check "it came back at this end" test "$(log_count 'NVMe target: TLS with 10.9.0.2:.* is up: PSK')" -gt "$before"
    boot_text "$WORK/disk-1" 'connected again at [0-9]' >"$WORK/again"
    cat "$WORK/again"
    check "by tlshd of the root, which has been written to since" grep -q 'NVMe host: TLS with 10.9.0.1:4420 is up: PSK' "$WORK/again"
}
