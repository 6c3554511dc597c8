# shellcheck shell=bash
# shows: ten network namespaces, each with an authority, an NFS server, a client, AF_TLSH: each reaches three others by mutual TLS
# guest: qemu
# check: no
# limit: 1200
# module: tlsh
count=10
# Of a client and its servers; soak/ns-ten.sh has all.
distances=${distances:-1 4 7}
for ((i = 1; i <= count; i++)); do ns_make $i && ns_pki $i; done
pki=$WORK/pki
{
    printf '%s\n' "[namespaces]" "named=yes"
    # First match wins: t9 shows t1 a certificate of t2's authority.
    ns_profile impostor client "$pki/ca-1" "$pki/client-2" match.namespace=t9 match.peer_address=10.9.0.1
    for ((i = 1; i <= count; i++)); do
        ns_profile "server $i" server "$pki/ca-$i" "$pki/server-$i" match.namespace=t$i
        ns_profile "client of $i" client "$pki/ca-$i" "$pki/client-$i" 'match.namespace=*' match.peer_name=10.9.0.$i
    done
} >"$WORK/tlshd.conf"
tlsh_load
daemon_start
all_served() { [ "$(grep -c 'namespace t[0-9]* is served' "$DAEMON_LOG")" = $count ]; }
check "all ten are served" within 10 all_served
for ((i = 1; i <= count; i++)); do ns_serve $i mtls || check "a server in t$i" false; done

# pair CLIENT SERVER: a handshake by AF_TLSH between the two, and bytes both ways.
pair() {
    ns_tlsh "$2" listen "10.9.0.$2" 4433 type=3 timeout=30000 >"$WORK/pair-server-$1-$2" &
    ns_tlsh "$1" connect "10.9.0.$2" 4433 type=0 "peername=10.9.0.$2" timeout=30000 >"$WORK/pair-client-$1-$2"
    wait $!
}
# Each with its neighbour, from the first mount on to the last.
ring() {
    local i
    while :; do
        for ((i = 1; i <= count; i++)); do
            pair $i $((i % count + 1))
            if tlsh_carried "$(cat "$WORK/pair-client-$i-$((i % count + 1))")" &&
                tlsh_carried "$(cat "$WORK/pair-server-$i-$((i % count + 1))")"; then
                echo good
            else
                echo bad
            fi >>"$WORK/pairs"
            sleep 0.5
        done
        [ ! -e "$WORK/enough" ] || return 0
    done
}
reach() { # CLIENT SERVER
    ns_mount "$1" "$2" && echo mounted >>"$WORK/reached" && ns_same "$1" "$2" && echo sound >>"$WORK/reached"
}
ring &
ring_pid=$!
wanted=0
for distance in $distances; do
    pids=()
    for ((i = 1; i <= count; i++)); do
        j=$(((i + distance - 1) % count + 1))
        [ $i.$j != 9.1 ] || continue
        reach $i $j &
        pids+=($!)
        wanted=$((wanted + 1))
        # More at once than a slow machine can do would meet the servers' patience.
        if [ ${#pids[@]} = 4 ]; then
            wait "${pids[@]}"
            pids=()
        fi
    done
    [ ${#pids[@]} = 0 ] || wait "${pids[@]}"
done
touch "$WORK/enough"
wait $ring_pid
reached() { grep -c "^$1\$" "$WORK/$2"; }
check "each mounts the others (were $(reached mounted reached))" equal "$(reached mounted reached)" $wanted
check "and reads and writes whole files there (were $(reached sound reached))" equal "$(reached sound reached)" $wanted
check "AF_TLSH carried bytes in each pair (was good $(reached good pairs) times)" test "$(reached good pairs)" -ge $count
check "and never failed" equal "$(reached bad pairs)" 0
between=$(log_since | awk '/NFS .* is up/ { begun = 1; sum = seen } /AF_TLSH .* is up/ && begun { seen++ } END { print sum + 0 }')
check "at the same time: $between handshakes of AF_TLSH between the first of NFS and the last" test "$between" -ge $count

check "a client with another namespace's certificate is refused" not ns_mount 9 1
check "with EACCES (was $mount_errno)" equal "$mount_errno" EACCES
check "t1's line names namespace, profile and reason" within 10 log_has \
    'NFS server in namespace t1, profile server 1: TLS with .* failed: the peer.s certificate is from an unknown authority'
pair 9 1
check "by AF_TLSH as well" tlsh_refused "$(cat "$WORK/pair-server-9-1")"
check "with a line of its own" within 10 log_has \
    'AF_TLSH server in namespace t1, profile server 1: .* failed: the peer.s certificate is from an unknown authority'
check "each success names its namespace and profile" within 10 log_reached $wanted 'NFS client in namespace t[0-9]+, profile client of [0-9]+: .* is up'
check "those of AF_TLSH too" within 10 log_reached $count 'AF_TLSH client in namespace t[0-9]+, profile client of [0-9]+: .* is up'
check "nothing was served without a profile" not log_has '(NFS|AF_TLSH) (client|server): TLS'
pids=()
for ((i = 1; i <= count; i++)); do
    ns_run $i umount -a -t nfs4 &
    pids+=($!)
done
wait "${pids[@]}"
daemon_stop
tlsh_unload
