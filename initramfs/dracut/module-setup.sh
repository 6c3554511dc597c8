#!/bin/bash
# dracut module: tlshd in the initramfs, for a root file system on NFS or NVMe/TCP over TLS. Wanted as soon as there is
# /etc/tlshd/initramfs/config, which becomes /etc/tlshd/config there, with all that lies beside it. The modules nfs and nvmf do the rest:
# root=nfs4:SERVER:/PATH:xprtsec=mtls, or rd.nvmf.discover= with a TLS key in /etc/tlshd/initramfs.
# shellcheck disable=SC2154  # dracut's: moddir, initdir

check() {
    require_binaries /usr/sbin/tlshd /usr/libexec/tlshd/tlshd-worker /usr/libexec/tlshd/tlshd-signer || return 1
    [[ -e /etc/tlshd/initramfs/config ]] || return 255
}

# The modules nfs and nvmf bring the network.
depends() { return 0; }

installkernel() { instmods tls nfs nfsv4 nvme-tcp gcm ccm chacha20poly1305 chacha_generic poly1305_generic aesni_intel cryptd; }

install() {
    inst_multiple /usr/sbin/tlshd /usr/libexec/tlshd/tlshd-worker /usr/libexec/tlshd/tlshd-signer
    inst_multiple cat grep sleep
    inst_multiple -o ip mount.nfs mount.nfs4 nvme /etc/netconfig /etc/protocols /etc/services /etc/gnutls/config \
        /etc/nvme/hostnqn /etc/nvme/hostid
    mkdir -p "$initdir/etc/tlshd"
    cp -a /etc/tlshd/initramfs/. "$initdir/etc/tlshd/"
    if [[ -e /etc/tlshd/initramfs/hosts ]]; then cp /etc/tlshd/initramfs/hosts "$initdir/etc/hosts"; fi
    grep '^tlshd:' /etc/passwd >>"$initdir/etc/passwd"
    # Before anything waits for devices, and until the root is about to be switched.
    inst_hook pre-trigger 10 "$moddir/tlshd-start.sh"
    inst_hook cleanup 90 "$moddir/tlshd-stop.sh"
}
