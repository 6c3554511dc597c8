# shellcheck shell=bash
# shows: a server that refuses 0 to 60 ms after the handshake: no mount waits for a timer, or sends on a dead connection
# guest: qemu-7.2 qemu
# check: no
# limit: 1200
modprobe nfsv4
mkdir -p /run/rpc_pipefs
mountpoint -q /run/rpc_pipefs || mount -t rpc_pipefs pipes /run/rpc_pipefs
daemon_config
daemon_start
refuser_start fin --late --spread 60
nfs_many mtls 61 EACCES 5000
refuser_stop
# Without these, every refusal came before the answer to the kernel, and nothing was shown.
check "the kernel was told of some successes" log_has "NFS client: TLS with server.rig .* is up"
check "some of these had ended before the kernel took them over" log_has "shut down: the server closed it before the kernel took it over"
