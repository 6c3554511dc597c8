# shellcheck shell=bash
# Sourced: network namespaces on one bridge, each with a mount and UTS namespace beside it, so that it is like a host:
# its own NFS server, its own client identity. Namespace tN has the address 10.9.0.N.
declare -A ns_holder=()

# ns_make N: makes tN.
ns_make() {
    if ! ip link show rigbr >/dev/null 2>&1; then
        modprobe veth 2>/dev/null
        modprobe bridge 2>/dev/null
        ip link add rigbr type bridge
        ip addr add 10.9.0.254/24 dev rigbr
        ip link set rigbr up
    fi
    ip netns add "t$1"
    ip link add "rig$1" type veth peer name eth0 netns "t$1"
    ip link set "rig$1" master rigbr up
    nsenter --net="/run/netns/t$1" unshare --mount --uts sleep infinity &
    ns_holder[$1]=$!
    require "there is a namespace t$1" within 15 ns_has_holder "$1"
    ns_run "$1" hostname "t$1.rig"
    ns_run "$1" ip addr add "10.9.0.$1/24" dev eth0
    ns_run "$1" ip link set lo up
    ns_run "$1" ip link set eth0 up
}

ns_has_holder() { [ "$(cat "/proc/${ns_holder[$1]}/comm" 2>/dev/null)" = sleep ]; }

# ns_run N COMMAND...: in tN and what belongs to it.
ns_run() {
    local number=$1
    shift
    nsenter --target "${ns_holder[$number]}" --net --mount --uts "$@"
}

# ns_pki N: an authority of tN's own in $WORK/pki, and certificates of it: server-N for its address, client-N.
ns_pki() {
    local who pki=$WORK/pki
    mkdir -p "$pki"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/ca-$1.key" \
        -out "$pki/ca-$1.pem" -subj "/CN=authority of t$1" -days 20000 2>/dev/null
    for who in server client; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/$who-$1.key" \
            -out "$pki/$who-$1.pem" -subj "/CN=$who of t$1" -days 20000 -CA "$pki/ca-$1.pem" -CAkey "$pki/ca-$1.key" \
            -addext "subjectAltName=IP:10.9.0.$1" -addext "extendedKeyUsage=${who}Auth" \
            -addext "basicConstraints=critical,CA:FALSE" 2>/dev/null
    done
}

# ns_profile NAME ROLE TRUST CERTIFICATE RULE...: prints a profile.
ns_profile() {
    local name=$1 role=$2 trust=$3 certificate=$4
    shift 4
    printf '%s\n' "[profile $name]" "match.role=$role" "$@" "x509.truststore=$trust.pem" \
        "x509.certificate=$certificate.pem" "x509.private_key=$certificate.key"
}

# ns_serve N XPRTSEC: an NFS server in tN, which exports a file that names it.
ns_serve() {
    modprobe nfsd
    modprobe nfs
    # shellcheck disable=SC2016  # expanded there
    ns_run "$1" bash -eu -c '
        mount -t tmpfs state /var/lib/nfs
        mkdir -p /var/lib/nfs/nfsdcld /var/lib/nfs/sm /run/rpc_pipefs /srv/rig
        touch /var/lib/nfs/etab /var/lib/nfs/rmtab
        mount -t rpc_pipefs pipes /run/rpc_pipefs
        mount -t nfsd nfsd /proc/fs/nfsd
        mount -t tmpfs export /srv/rig
        echo "this is t$1" >/srv/rig/name
        head -c 1000000 /dev/urandom >/srv/rig/data
        nfsdcld -p /run/rpc_pipefs
        if [ -x /usr/sbin/nfsv4.exportd ]; then nfsv4.exportd; else rpc.mountd -N 3; fi
        echo 10 >/proc/fs/nfsd/nfsv4leasetime
        echo 10 >/proc/fs/nfsd/nfsv4gracetime
        exportfs -o "rw,fsid=0,insecure,no_root_squash,no_subtree_check,sync,xprtsec=$2" "*:/srv/rig"
        rpc.nfsd -N 3 2
    ' ns_serve "$1" "$2"
}

# ns_mount N SERVER [XPRTSEC]: mounts tSERVER's export in tN. Sets mount_text and mount_errno.
ns_mount() {
    local status folder=/mnt/t$1-$2
    mkdir -p "$folder"
    mount_text=$(ns_run "$1" timeout -k 2 $((20 + RIG_SLOW * 20)) mount -t nfs4 \
        -o "xprtsec=${3:-mtls},retry=0,vers=4.2" "10.9.0.$2:/" "$folder" 2>&1)
    status=$?
    mount_errno=$(nfs_errno "$status" "$mount_text")
    [ $status = 0 ] || say "      t$1 mounts t$2: $mount_text [$mount_errno]"
    return $status
}

# ns_same N SERVER: whether tN sees the server's own files, whole, and can write.
ns_same() {
    local folder=/mnt/t$1-$2
    [ "$(ns_run "$1" cat "$folder/name")" = "this is t$2" ] &&
        [ "$(ns_run "$1" md5sum <"/proc/${ns_holder[$1]}/root$folder/data")" = \
            "$(md5sum <"/proc/${ns_holder[$2]}/root/srv/rig/data")" ] &&
        ns_run "$1" sh -c "echo from t$1 >$folder/from-$1" &&
        [ "$(cat "/proc/${ns_holder[$2]}/root/srv/rig/from-$1")" = "from t$1" ]
}

ns_unmount() { ns_run "$1" umount "/mnt/t$1-$2"; }

# ns_nvme_target: a target for $subsystem in t1. Its port is made by a process there alone, so that its socket is there.
ns_nvme_target() {
    nvme_target "$subsystem"
    rm "$nvmet/ports/1/subsystems/$subsystem"
    echo 10.9.0.1 >"$nvmet/ports/1/addr_traddr"
    nsenter --net=/run/netns/t1 ln -s "$nvmet/subsystems/$subsystem" "$nvmet/ports/1/subsystems/"
}
ns_nvme_listens() { nsenter --net=/run/netns/t1 ss -ltn | grep -q ':4420'; }

# ns_nvme_connect: the host connects from t2.
ns_nvme_connect() {
    local status=0
    nsenter --net=/run/netns/t2 timeout 60 nvme connect -t tcp -a 10.9.0.1 -s 4420 -n "$subsystem" \
        --hostnqn="$NVME_HOST" --hostid="$NVME_HOST_ID" --tls --nr-io-queues=1 >"$WORK/connect" 2>&1 || status=$?
    say "      t2 connects to t1: $(tr '\n' ' ' <"$WORK/connect")[$status]"
    return $status
}

# ns_peer N CONFIGURATION: the distribution's ktls-utils in tN; returns when it listens. Its log is $WORK/peer.log.
ns_peer() {
    (
        keyctl new_session >/dev/null
        exec nsenter --target "${ns_holder[$1]}" --net --mount --uts /usr/sbin/tlshd -s -c "$2"
    ) >>"$WORK/peer.log" 2>&1 &
    ns_peer_pid=$!
    require "ktls-utils listens in t$1" within 20 has_listener "$ns_peer_pid" "/proc/${ns_holder[$1]}/net/netlink"
}

ns_peer_stop() {
    kill "$ns_peer_pid"
    wait "$ns_peer_pid" 2>/dev/null
}

# ns_tlsh N WORD...: tlsh_ask (lib/tlsh.sh) in tN.
ns_tlsh() {
    local number=$1
    shift
    ns_run "$number" bash -c "$(declare -f tlsh_ask)"'; tlsh_ask "$@"' tlsh_ask "$@"
}

# ns_remove: takes all of it down, for cleanup.
ns_remove() {
    local name pid
    for name in $(ip netns list 2>/dev/null | cut -d' ' -f1); do
        for pid in $(ip netns pids "$name"); do
            [ "$(cat "/proc/$pid/comm")" != sleep ] ||
                timeout 20 nsenter -t "$pid" -n -m sh -c 'umount -a -f -t nfs4; rpc.nfsd 0' 2>/dev/null
        done
        ip netns pids "$name" | xargs -r kill -KILL
        ip netns delete "$name"
    done
    ip link delete rigbr 2>/dev/null
    return 0
}
