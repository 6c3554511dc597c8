# shellcheck shell=bash
# shows: the signer dies, and hangs, before and during mounts: it is replaced, mounts hear in time, the next one works
# guest: uml
signer() { pgrep -x tlshd-signer; }
replaced() { local now; now=$(signer) && [ "$now" != "$1" ]; }

daemon_start
nfs_export mtls
nfs_works mtls

first=$(signer)
kill -KILL "$first"
nfs_works mtls
check "a dead signer is replaced" replaced "$first"
check "a line says how it ended" within 10 log_has 'the signer was killed by signal 9'

# With a handshake waiting for its signature.
second=$(signer)
kill -STOP "$second"
nfs_mount mtls
check "the mount that meets a hung signer ends within 10 s" at_most "$mount_ms" 10000
! mountpoint -q $MOUNT || nfs_unmount
check "the handshake says why" within 10 log_has 'NFS server: TLS with 127.0.0.1:[0-9]+ failed: the process that holds the private keys does not answer '
nfs_works mtls
check "the hung signer is replaced" replaced "$second"
check "a line says so" within 10 log_has 'the signer is killed: it did not answer for 2 s'

# With nothing to sign: it is found before a mount meets it.
third=$(signer)
kill -STOP "$third"
check "a signer that hangs unused is found" within 15 replaced "$third"
nfs_works mtls
check "the daemon lives" daemon_alive
