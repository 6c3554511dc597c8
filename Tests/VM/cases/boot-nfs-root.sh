# shellcheck shell=bash
# shows: a machine without a disk boots from an initramfs made by the package; its root is an export of this one over mutual TLS
# guest: diskless
# limit: 180
# The root of the other machine, whose first program tells how it was mounted.
serve_root() {
    mkdir -p $EXPORT/{bin,sbin,dev,proc,sys,run,tmp,etc}
    cp "$(command -v busybox || echo /host/bin/busybox)" $EXPORT/bin/busybox
    cat >$EXPORT/sbin/init <<'EOF'
#!/bin/busybox sh
{
    echo "kernel $(/bin/busybox uname -r)"
    /bin/busybox grep ' / ' /proc/mounts
    /bin/busybox grep -E 'TlsTxSw|TlsRxSw' /proc/net/tls_stat
    /bin/busybox cat /run/tlshd/log
} >/report.new 2>&1
/bin/busybox ps | /bin/busybox grep -v "\[" >>/report.new
/bin/busybox mv /report.new /report
/bin/busybox sync
echo o >/proc/sysrq-trigger
/bin/busybox sleep 60
EOF
    chmod 755 $EXPORT/sbin/init
}

modprobe virtio_net
ip link set eth0 up
require "a wire to the other machine" ip address add 10.9.0.1/24 dev eth0
check "its initramfs has tlshd" grep -q usr/sbin/tlshd /out/initramfs.list
check "and so has one that dracut makes" grep -q usr/libexec/tlshd/tlshd-worker /out/dracut.list
check "with the settings" grep -q etc/tlshd/config /out/dracut.list
daemon_start
nfs_export mtls
serve_root
require "the other machine runs from it" within 120 test -e $EXPORT/report
cat $EXPORT/report
check "its root is this export, over mutual TLS" grep -qE '^server.rig:/ / nfs4 .*xprtsec=mtls' $EXPORT/report
check "keyed in its kernel" grep -qE 'TlsRxSw[[:space:]]+[1-9]' $EXPORT/report
check "by tlshd" grep -q 'NFS client: TLS with server.rig .* is up' $EXPORT/report
check "which has ended since" not grep -q 'tlshd$' $EXPORT/report
check "and this end was keyed by ours" log_has 'NFS server: TLS with 10.9.0.2:.* is up'
