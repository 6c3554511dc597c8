# shellcheck shell=bash
# shows: the daemon is killed and restarted while a mount is live: data flows on, no worker stays, the next mount works
# guest: uml
read_afresh() { echo 3 >/proc/sys/vm/drop_caches && nfs_data; }

daemon_start
nfs_export tls:mtls
tls_mark
require "mount with xprtsec=tls" nfs_mount tls
check "same data on both sides" nfs_data
daemon_stop KILL
check "the daemon is gone" not daemon_alive
check "and its workers with it" within 15 not pgrep -x tlshd-worker
check "and its signer" within 15 not pgrep -x tlshd-signer
check "data flows on without a daemon" read_afresh
daemon_start
check "and with a new one" read_afresh
check "kTLS keyed both ends, once" tls_rose 2
MOUNT=/mnt/second
nfs_works mtls
MOUNT=/mnt/rig
check "the first mount still works" read_afresh
check "unmount" nfs_unmount
