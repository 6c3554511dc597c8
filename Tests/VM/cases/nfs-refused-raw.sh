# shellcheck shell=bash
# shows: servers that refuse by FIN, by an alert and a reset 0 to 50 ms after it, and by a reset alone: no mount hangs or is made
# guest: qemu-7.2
# check: no
# limit: 1500
modprobe nfsv4
mkdir -p /run/rpc_pipefs
mountpoint -q /run/rpc_pipefs || mount -t rpc_pipefs pipes /run/rpc_pipefs
daemon_config
daemon_start
refuser_start fin
nfs_many mtls 10 EACCES 5000
refuser_stop
refuser_start alert-rst
nfs_many mtls 52 EACCES 5000
refuser_stop
refuser_start rst
python3 "$RIG_VM/fake/mounts.py" server.rig mtls 10 --limit 60 --option soft,timeo=30,retrans=1 >"$WORK/mounts"
sed 's/^/          /' "$WORK/mounts"
check "ten mounts end" matches "$(tail -1 "$WORK/mounts")" "count=10 .*"
check "none hangs, none is made" not grep -qE "HANGS|mounted" "$WORK/mounts"
refuser_stop
