# shellcheck shell=bash
# shows: a second mount of a server makes no handshake; one with tls beside one with mtls has the transport of that
# guest: uml
second() { mount -t nfs4 -o "vers=4.2,retry=0,$1" server.rig:/ /mnt/second; }
# uses XPRTSEC: whether the second mount does.
uses() { grep -q "^server.rig:/ /mnt/second nfs4 .*xprtsec=$1[, ]" /proc/mounts; }

daemon_start
nfs_export tls:mtls
mkdir -p /mnt/second
require "a mount with xprtsec=mtls" nfs_mount mtls
log_mark
check "a second one" second xprtsec=mtls
check "makes no handshake" not within 2 log_has 'NFS client: .* is up'
umount /mnt/second
check "one with xprtsec=tls" second xprtsec=tls
check "uses mtls as well" uses mtls
umount /mnt/second
nfs_unmount
