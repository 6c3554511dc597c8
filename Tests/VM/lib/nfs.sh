# shellcheck shell=bash
# Sourced: NFS server and client in one guest. The export is a tmpfs at $EXPORT and the root of the server's name space.
EXPORT=/srv/rig
MOUNT=/mnt/rig

# nfs_export XPRTSEC [OPTION,...]: starts the server when it does not run yet and exports $EXPORT to everybody.
nfs_export() {
    nfs_server 8
    nfs_space
    require "export with xprtsec=$1" exportfs -o \
        "rw,fsid=0,insecure,no_root_squash,no_subtree_check,sync,xprtsec=$1${2:+,$2}" "*:$EXPORT"
}

nfs_space() {
    mkdir -p $EXPORT $MOUNT
    mountpoint -q $EXPORT || mount -t tmpfs export $EXPORT
    head -c 4000000 /dev/urandom >$EXPORT/data
}

# nfs_server THREADS: starts the services that do not run yet; with a server that runs only the first call counts.
nfs_server() {
    modprobe nfsd
    # The client's modules too: a mount that is measured does not load them.
    modprobe nfsv4
    mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
    mkdir -p /run/rpc_pipefs /var/lib/nfs/nfsdcld
    mountpoint -q /run/rpc_pipefs || mount -t rpc_pipefs pipes /run/rpc_pipefs
    pgrep -x rpcbind >/dev/null || rpcbind -w
    # nfsdcld knows that no client has state to reclaim; without it the first open waits out the grace period.
    pgrep -x nfsdcld >/dev/null || nfsdcld -p /run/rpc_pipefs
    pgrep -x rpc.mountd >/dev/null || rpc.mountd -N 3
    if [ "$(cat /proc/fs/nfsd/threads)" = 0 ]; then
        echo 10 >/proc/fs/nfsd/nfsv4leasetime
        echo 10 >/proc/fs/nfsd/nfsv4gracetime
        rpc.nfsd -N 3 "$1"
    fi
}

# nfs_mount XPRTSEC [HOST [OPTION,...]]: mounts the export, measured. Sets mount_ms, mount_text and mount_errno (0, or a
# name such as EACCES); its status is mount's.
nfs_mount() {
    local begin status options=xprtsec=$1,retry=0${3:+,$3} host=${2:-server.rig}
    mkdir -p $MOUNT
    [[ $options == *vers=* ]] || options+=,vers=4.2
    [[ $host != *:* ]] || host="[$host]"
    begin=$(now_ms)
    mount_text=$(timeout -k 2 $((20 + RIG_SLOW * 10)) mount -t nfs4 -o "$options" "$host:/" $MOUNT 2>&1)
    status=$?
    mount_ms=$(($(now_ms) - begin))
    mount_errno=$(nfs_errno "$status" "$mount_text")
    [ $status != 0 ] || mount_text=mounted
    say "      mount -o $options $host:/: $mount_text [$mount_errno] after $mount_ms ms"
    return $status
}

# nfs_errno STATUS TEXT: mount.nfs tells the errno in words only.
nfs_errno() {
    case $1:$2 in
    0:*) echo 0 ;;
    124:* | 137:*) echo HANG ;;
    *"access denied"* | *"ermission denied"*) echo EACCES ;;
    *"peration not permitted"*) echo EPERM ;;
    *"timed out"*) echo ETIMEDOUT ;;
    *"nput/output error"*) echo EIO ;;
    *"onnection refused"*) echo ECONNREFUSED ;;
    *"rotocol not supported"*) echo EPROTONOSUPPORT ;;
    *"o such process"*) echo ESRCH ;;
    *) echo "UNKNOWN" ;;
    esac
}

nfs_unmount() { umount $MOUNT; }

# nfs_data: whether a file read through the mount and one written through it are the same on both sides.
nfs_data() {
    head -c 1000000 /dev/urandom >"$WORK/sent"
    cp "$WORK/sent" $MOUNT/sent && cmp "$WORK/sent" $EXPORT/sent && cmp $EXPORT/data $MOUNT/data
}

# nfs_works XPRTSEC [HOST [OPTION,...]]: the assertions of a mount that must work, from mount to unmount.
nfs_works() {
    tls_mark
    check "mount with xprtsec=$1${2:+ of $2}${3:+ ($3)}" nfs_mount "$@"
    check "same data on both sides" nfs_data
    check "kTLS keyed both ends" tls_rose 2
    check "no record failed to decrypt" tls_no_errors
    check "unmount" nfs_unmount
}

# nfs_refused XPRTSEC ERRNO[|ERRNO] [HOST [OPTION,...]]: the assertions of a mount that must fail at once.
nfs_refused() {
    local expected=$2
    set -- "$1" "${@:3}"
    tcp_mark
    check "mount with xprtsec=$1${2:+ of $2} is refused" not nfs_mount "$@"
    # The timers are of 9 s and more.
    check "at once, not by a timer (took $mount_ms ms)" at_most "$mount_ms" 7000
    check "with $expected (was $mount_errno)" matches "$mount_errno" "$expected"
    check "nothing is mounted" not mountpoint -q $MOUNT
    check "no connection was reset by a close" tcp_no_abort
}

# nfs_many XPRTSEC COUNT END MILLISECONDS: the assertions of many mounts one after the other, see fake/mounts.py. END: how
# each has to end, an errno's name or "mounted"; MILLISECONDS: the longest that one may take.
nfs_many() {
    local figures
    tcp_mark
    python3 "$RIG_VM/fake/mounts.py" server.rig "$1" "$2" >"$WORK/mounts"
    sed 's/^/          /' "$WORK/mounts"
    figures=$(tail -1 "$WORK/mounts")
    check "$2 mounts with xprtsec=$1 end with $3" matches "$figures" "count=$2 $3=$2 .*"
    check "none takes longer than $4 ms" at_most "${figures##*worst_ms=}" "$4"
    # At an unmount, client and server close at the same time.
    [ "$3" = mounted ] || check "no connection was reset by a close" tcp_no_abort
}

# nfs_client_refused: the same for a client whose certificate the server refuses. In TLS 1.3 the client has finished
# before the server has judged, so its kernel may have keyed its end and sent a first request: that is in no clear text.
# Every NFS client's first request names its kernel, see nfs-wire.
nfs_client_refused() {
    tls_mark
    capture_start "$WORK/refused.pcap" 2049
    nfs_refused mtls EACCES
    capture_stop
    tls_since
    check "no NFS request crossed in clear text" not capture_has "Linux NFSv4"
}

# nfs_client_told ALERT: the client's line has the server's alert. On a slow machine the alert may come after the client has
# told its kernel; then the line says that the connection has ended, and the kernel reads the alert.
nfs_client_told() {
    local refused="failed: the peer refused the handshake .the server refused our certificate: $1"
    check "the client's line tells of the refusal" within 10 log_has \
        "NFS client: (TLS with server.rig .* $refused|connection with server.rig .* has ended right after the handshake)"
}
