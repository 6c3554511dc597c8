#!/bin/bash
# dracut module: tlshd in the initramfs, for a root file system on NFS or NVMe/TCP over TLS. It is included if
# /etc/tlshd/initramfs/config exists. The content of that directory becomes /etc/tlshd. On the kernel command line, in addition to ip=:
#
#     root=nfs4:SERVER:/PATH:xprtsec=mtls                       handled by the module nfs
#     tlshd.nvme=ADDRESS,PORT,NQN[,HOSTNQN] root=/dev/nvme0n1   an NVMe/TCP subsystem, with a PSK in /etc/tlshd/initramfs
# shellcheck disable=SC2154  # set by dracut: moddir, initdir

check() {
    require_binaries /usr/sbin/tlshd /usr/libexec/tlshd/tlshd-worker /usr/libexec/tlshd/tlshd-signer || return 1
    [[ -e /etc/tlshd/initramfs/config ]] || return 255
}

depends() { echo network; }

installkernel() { instmods tls nfs nfsv4 nvme-tcp gcm ccm chacha20poly1305 chacha_generic poly1305_generic aesni_intel cryptd; }

install() {
    inst_multiple /usr/sbin/tlshd /usr/libexec/tlshd/tlshd-worker /usr/libexec/tlshd/tlshd-signer
    inst_multiple cat grep mkdir sleep tail
    inst_multiple -o ip mount.nfs mount.nfs4 nvme /etc/netconfig /etc/protocols /etc/services /etc/gnutls/config \
        /etc/nvme/hostnqn /etc/nvme/hostid
    mkdir -p "$initdir/etc/tlshd"
    cp -a /etc/tlshd/initramfs/. "$initdir/etc/tlshd/"
    if [[ -e /etc/tlshd/initramfs/hosts ]]; then cp /etc/tlshd/initramfs/hosts "$initdir/etc/hosts"; fi
    grep -E '^tlshd(-signer)?:' /etc/passwd >>"$initdir/etc/passwd"
    inst_hook cmdline 91 "$moddir/tlshd-parse.sh"
    inst_hook initqueue/online 50 "$moddir/tlshd-connect.sh"
    # From before dracut waits for devices until shortly before the root is switched.
    inst_hook pre-trigger 10 "$moddir/tlshd-start.sh"
    inst_hook cleanup 90 "$moddir/tlshd-stop.sh"
}
