# shellcheck shell=bash
# Sourced: AF_TLSH by the module of Tests/VM/kernel. Cases that use it say "module: tlsh" in their header.

# tlsh_load [PARAMETER=VALUE...]: loads the module, and names its family in the daemon's configuration.
tlsh_load() {
    case $RIG_GUEST in memory*) require "the kernel watches its memory" memory_is_watched ;; esac
    case $RIG_GUEST in debug) require "the kernel watches its locks" locks_are_watched ;; esac
    require "the module loads" insmod "$RIG_MODULE" "$@"
    [ -e "$WORK/tlshd.conf" ] || daemon_config
    printf '%s\n' "[listener]" "family=18" "level=287" "key_update_lifetime=${rekey_lifetime:-0}" >>"$WORK/tlshd.conf"
}

# It stops at the first thing that it finds.
locks_are_watched() { grep -qE '^ debug_locks: +1$' /proc/lockdep_stats; }

memory_is_watched() {
    equal "$(cat /sys/module/kfence/parameters/sample_interval)" 10 && equal "$(cat /sys/kernel/slab/kmalloc-512/poison)" 1
}

# tlsh_unload: after the daemon has gone; nothing may be left of what it was asked for.
tlsh_unload() {
    check "no request is left behind" within 15 tlsh_idle
    check "the module unloads" within 15 rmmod tlsh
    case $RIG_GUEST in debug) check "the kernel still watches its locks" locks_are_watched ;; esac
}

tlsh_idle() { [ "$(cat /proc/tlsh)" = requests=0 ]; }

# tlsh_ask WORD...: one command of /proc/tlsh (kernel/consumer.c); its outcome is printed.
tlsh_ask() {
    local answer
    exec {tlsh_file}<>/proc/tlsh
    printf '%s' "$*" >&"$tlsh_file" && IFS= read -r answer <&"$tlsh_file"
    exec {tlsh_file}>&-
    echo "${answer:-refused}"
}

# tlsh_start NAME WORD...: the same in the background; tlsh_end waits for all and keeps the outcomes in $WORK/NAME.
tlsh_pids=()
rekey_lifetime=0
tlsh_start() {
    local name=$1
    shift
    tlsh_ask "$@" >"$WORK/$name" &
    tlsh_pids+=($!)
}

tlsh_end() {
    [ ${#tlsh_pids[@]} = 0 ] || wait "${tlsh_pids[@]}"
    tlsh_pids=()
}

# tlsh_carried OUTCOME [BYTES]: whether the handshake worked and all bytes came through as they were.
tlsh_carried() {
    say "      $1"
    [[ $1 == "connected=0 submitted=0 status=0 data=0 carried=${2:-100000} "* ]]
}

# tlsh_refused OUTCOME: whether the answer was EACCES, and no data went anywhere.
tlsh_refused() {
    say "      $1"
    [[ $1 == "connected=0 submitted=0 status=-13 data=0 carried=0 "* ]]
}

# tlsh_key DESCRIPTION FILE: the serial of a new key with the file's bytes, which its owner may read.
tlsh_key() {
    local serial
    serial=$(keyctl padd user "$1" @s <"$2")
    keyctl setperm "$serial" 0x3f3f0000
    echo "$serial"
}

# tlsh_psk DESCRIPTION: a new PSK in $WORK/psk, inserted for both ends: where the daemon finds it by its name, and as a key that
# the consumer names by $psk_serial.
tlsh_psk() {
    local ring
    modprobe nvme-keyring
    ring=$(awk '$8 == "keyring" && $9 == ".nvme:" { print "0x" $1; exit }' /proc/keys)
    require "the kernel has a keyring for PSKs" test -n "$ring"
    head -c 32 /dev/urandom >"$WORK/psk"
    keyctl link "$ring" @s
    keyctl padd psk "$1" "$ring" <"$WORK/psk" >/dev/null
    keyctl unlink "$ring" @s
    psk_serial=$(tlsh_key "$1" "$WORK/psk")
}

# tlsh_peer NAME WORD...: OpenSSL as the other end, see fake/openssl.py; its events are lines in $WORK/NAME.
tlsh_peer() {
    local name=$1
    shift
    python3 "$RIG_VM/fake/openssl.py" "$@" >"$WORK/$name" 2>&1 &
    tlsh_pids+=($!)
}

# rekey_config [SECONDS]: a configuration that keeps connections' secrets for key updates.
rekey_config() {
    daemon_config
    rekey_lifetime=${1:-60}
}

# rekey_serves NAME PORT WORD...: OpenSSL as a server that can update keys, see fake/rekey.py.
rekey_serves() {
    local name=$1 port=$2
    shift 2
    rekey_peer "$name" serve "$port" --certificate server "$@"
    require "OpenSSL listens on port $port" within 15 grep -q listening "$WORK/$name"
}

rekey_peer() { # NAME WORD...
    local name=$1
    shift
    python3 "$RIG_VM/fake/rekey.py" "$@" >"$WORK/$name" 2>&1 &
    tlsh_pids+=($!)
}

# rekey_did OUTCOME UPDATES HEARD [BYTES]: all bytes came through, with so many key updates of ours and of the peer's.
rekey_did() {
    tlsh_carried "$1" "${4:-200000}" && [[ $1 == *" session=16 updates=$2 heard=$3 refused=0" ]]
}

# rekey_count NAME REGEX: how many lines of the peer's say that.
rekey_count() { grep -cE "$2" "$WORK/$1"; }

# tlsh_peer_serves NAME PORT WORD...: the same as a server that is ready when this returns.
tlsh_peer_serves() {
    local name=$1 port=$2
    shift 2
    tlsh_peer "$name" serve "$port" "$@"
    require "OpenSSL listens on port $port" within 15 grep -q listening "$WORK/$name"
}

tlsh_peer_said() { # NAME REGEX
    sed 's/^/          OpenSSL: /' "$WORK/$1"
    grep -qE "$2" "$WORK/$1"
}
