# shellcheck shell=bash
# Sourced: NVMe/TCP target and host in one guest. The target wants TLS 1.3 with a PSK.
NVME_HOST=nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001
NVME_HOST_ID=00000000-0000-4000-8000-000000000001
NVME_PORT=4420
NVME_ADDRESS=127.0.0.1
nvmet=/sys/kernel/config/nvmet

# nvme_modules: the keyring .nvme exists from here on; the peer daemon has to be started after it.
nvme_modules() {
    local module
    for module in tls nvme-tcp nvmet-tcp; do modprobe "$module"; done
}

# nvme_modules_gone: unloads them, which waits for what is still being torn down, and with them .nvme.
nvme_modules_gone() {
    modprobe -r nvmet-tcp nvme-tcp 2>/dev/null
    modprobe -r nvmet nvme-fabrics nvme-core nvme-auth nvme-keyring 2>/dev/null
    [ -z "$(nvme_keyring .nvme)" ]
}

# nvme_target NQN...: a target on $NVME_ADDRESS with one subsystem for each NQN, each with one namespace of 64 MiB, or on the disk that is there.
nvme_target() {
    local nqn number=0
    mkdir -p $nvmet/hosts/$NVME_HOST
    for nqn; do
        number=$((number + 1))
        [ -e "$WORK/disk-$number" ] || truncate -s 64M "$WORK/disk-$number"
        mkdir -p "$nvmet/subsystems/$nqn/namespaces/1"
        ln -s $nvmet/hosts/$NVME_HOST "$nvmet/subsystems/$nqn/allowed_hosts/"
        echo 1 >"$nvmet/subsystems/$nqn/namespaces/1/buffered_io"
        echo -n "$WORK/disk-$number" >"$nvmet/subsystems/$nqn/namespaces/1/device_path"
        echo 1 >"$nvmet/subsystems/$nqn/namespaces/1/enable"
    done
    nvme_port
    for nqn; do ln -s "$nvmet/subsystems/$nqn" $nvmet/ports/1/subsystems/; done
    require "the target offers $# subsystems" test -e "$nvmet/ports/1/subsystems/$1"
}

# nvme_port [plain]: the port, with TLS unless it is to be plain; the address is $NVME_ADDRESS.
nvme_port() {
    mkdir -p $nvmet/ports/1
    (
        cd $nvmet/ports/1 || exit
        echo tcp >addr_trtype
        echo ipv4 >addr_adrfam
        echo "$NVME_ADDRESS" >addr_traddr
        echo $NVME_PORT >addr_trsvcid
        if [ "${1:-}" = plain ]; then exit; fi
        echo tls1.3 >addr_tsas
        echo required >addr_treq
    )
}

# nvme_target_plain NQN: a port without TLS takes the place of the target's own.
nvme_target_plain() {
    rm $nvmet/ports/1/subsystems/*
    rmdir $nvmet/ports/1
    nvme_port plain && ln -s "$nvmet/subsystems/$1" $nvmet/ports/1/subsystems/
}

# nvme_key NQN [HMAC [IDENTITY]]: a new PSK for host and subsystem in .nvme, as an administrator makes it.
# HMAC 1 is SHA-256, 2 is SHA-384; IDENTITY 0 has no digest behind the names, 1 has.
nvme_key() {
    require "a PSK for $1" nvme_quiet gen-tls-key --hmac="${2:-1}" --identity="${3:-1}" --subsysnqn="$1" \
        --hostnqn=$NVME_HOST --insert
}

nvme_quiet() { nvme "$@" >"$WORK/nvme.out" 2>&1 || { cat "$WORK/nvme.out" && return 1; }; }

# nvme_raw_key KEYRING NQN [FILE]: FILE's 32 bytes, or random ones, as the PSK of identity NVMe0R01 in a keyring.
nvme_raw_key() {
    local ring
    ring=$(nvme_keyring "$1")
    [ "$ring" = "$1" ] || keyctl link "$ring" @s
    head -c 32 "${3:-/dev/urandom}" | keyctl padd psk "NVMe0R01 $NVME_HOST $2" "$ring" >/dev/null
    [ "$ring" = "$1" ] || keyctl unlink "$ring" @s
}

# nvme_host_ring: a keyring for the host's keys alone, host_ring is its serial number. The daemon reaches it only
# through a request that names it, so that host and target can hold different keys under one identity. Its owner may
# link it, as .nvme's may: the kernel links it for the daemon when a request is accepted.
nvme_host_ring() {
    host_ring=$(keyctl newring "rig-host-$RIG_CASE" @s)
    keyctl setperm "$host_ring" 0x1f1f0000
}

# nvme_keyring NAME: its serial number; a number stays what it is.
nvme_keyring() {
    if [[ $1 =~ ^[0-9]+$ ]]; then
        echo "$1"
    else
        # A revoked one stays visible while somebody has it linked, as a daemon may after the module went.
        awk -v n="$1:" '$8 == "keyring" && $9 == n && $2 !~ /R/ { print "0x" $1; exit }' /proc/keys
    fi
}

# nvme_connect NQN [OPTION...]: by the administrator's command, measured. Sets connect_ms.
nvme_connect() {
    local nqn=$1 begin status
    shift
    begin=$(now_ms)
    connect_text=$(timeout -k 5 60 nvme connect -t tcp -a 127.0.0.1 -s $NVME_PORT -n "$nqn" --hostnqn=$NVME_HOST \
        --hostid=$NVME_HOST_ID --tls "$@" 2>&1)
    status=$?
    connect_ms=$(($(now_ms) - begin))
    say "      nvme connect -n $nqn --tls $*: $(tr '\n' ' ' <<<"$connect_text")[$status] after $connect_ms ms"
    return $status
}

# nvme_connect_raw NQN [OPTION,...]: by the kernel's own interface, which tells the errno. Sets connect_ms,
# connect_end (milliseconds since the epoch) and connect_errno (0, or the text of strerror).
nvme_connect_raw() {
    local begin status text options=transport=tcp,traddr=127.0.0.1,trsvcid=$NVME_PORT,nqn=$1
    options+=,hostnqn=$NVME_HOST,hostid=$NVME_HOST_ID,tls
    begin=$(now_ms)
    text=$({ echo -n "$options${2:+,$2}" >/dev/nvme-fabrics; } 2>&1)
    status=$?
    connect_end=$(now_ms)
    connect_ms=$((connect_end - begin))
    connect_errno=0
    [ $status = 0 ] || connect_errno=${text##*: }
    say "      connect to $1 with tls${2:+,$2}: $connect_errno after $connect_ms ms"
    return $status
}

# nvme_device NQN: the block device of the subsystem's namespace.
nvme_device() {
    local block
    for block in /sys/block/nvme*n*; do
        # With multipath each path is a block device too, without a node in /dev.
        if [ -b "/dev/${block##*/}" ] && [ "$(cat "$block/device/subsysnqn")" = "$1" ]; then
            echo "/dev/${block##*/}"
        fi
    done
}

nvme_has_device() { [ -b "$(nvme_device "$1")" ]; }

# nvme_data NQN DISK [TEXT]: whether what is written to the device is what the target's disk and the device then hold.
# TEXT is put into the data again and again.
nvme_data() {
    local device
    device=$(nvme_device "$1")
    head -c 2000000 /dev/urandom >"$WORK/written"
    [ $# -lt 3 ] || yes "$3" | head -c 96000 >>"$WORK/written"
    truncate -s 2097152 "$WORK/written"
    dd if="$WORK/written" of="$device" bs=1M oflag=direct conv=fsync,nocreat status=none &&
        cmp -n 2097152 "$WORK/written" "$WORK/$2" &&
        dd if="$device" bs=1M iflag=direct count=2 status=none | cmp - "$WORK/written"
}

# nvme_works NQN DISK QUEUES [OPTION...]: the assertions of a connection that must work. The kernel makes at most one
# I/O queue of a kind for each CPU, so of four queues two are for writing.
nvme_works() {
    local nqn=$1 disk=$2 queues=$3
    shift 3
    [ "$queues" -lt 4 ] || set -- --nr-write-queues=$((queues / 2)) "$@"
    tls_mark
    check "nvme connect --tls" nvme_connect "$nqn" --nr-io-queues=$((queues < 4 ? queues : queues / 2)) "$@"
    require "the namespace is a block device" within 10 nvme_has_device "$nqn"
    check "same data in the device and on the target's disk" nvme_data "$nqn" "$disk"
    check "kTLS keyed both ends of $((queues + 1)) queues" tls_rose $((2 * queues + 2))
    check "no record failed to decrypt" tls_no_errors
}

nvme_disconnect() { nvme_quiet disconnect -n "$1"; }

nvme_controllers() { compgen -G '/sys/class/nvme/nvme*' | wc -l; }

# nvme_key_serial DESCRIPTION: the serial number of the PSK with exactly that identity. /proc/keys adds ": LENGTH".
nvme_key_serial() {
    awk -v wanted="$1: " '$8 == "psk" && $2 !~ /R/ { line = $0; sub(/^.* psk +/, "", line)
        if (index(line, wanted) == 1) { print "0x" $1; exit } }' /proc/keys
}

# nvme_remove: disconnects all, and takes the target down: its configfs, from the leaves up.
nvme_remove() {
    local path
    [ ! -e /sys/class/nvme-fabrics ] || timeout 20 nvme disconnect-all
    [ -d $nvmet ] || return 0
    find $nvmet/ports -mindepth 3 -path '*/subsystems/*' -type l -delete 2>/dev/null
    for path in "$nvmet"/subsystems/*/namespaces/*/enable; do
        [ ! -e "$path" ] || echo 0 >"$path"
    done
    find $nvmet/subsystems -mindepth 3 -path '*/allowed_hosts/*' -type l -delete 2>/dev/null
    for path in "$nvmet"/ports/* "$nvmet"/subsystems/*/namespaces/* "$nvmet"/subsystems/* "$nvmet"/hosts/*; do
        [ ! -d "$path" ] || rmdir "$path"
    done
}
