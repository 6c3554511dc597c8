# shellcheck shell=bash
# shows: ten network namespaces, each with an authority, an NFS server and a client: all mount each other over mutual TLS
# guest: uml
# limit: 400
count=10
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
daemon_start
check "all ten are served" within 2 equal "$(grep -c 'namespace t[0-9]* is served' "$DAEMON_LOG")" $count
for ((i = 1; i <= count; i++)); do ns_serve $i mtls || check "a server in t$i" false; done

mounted=0 sound=0
for ((i = 1; i <= count; i++)); do
    for ((j = 1; j <= count; j++)); do
        [ $i != $j ] || continue
        [ $i.$j != 9.1 ] || continue
        ns_mount $i $j && mounted=$((mounted + 1))
    done
done
check "each mounts all others (were $mounted)" equal $mounted $((count * (count - 1) - 1))
for ((i = 1; i <= count; i++)); do
    for ((j = 1; j <= count; j++)); do
        [ $i != $j ] && [ $i.$j != 9.1 ] || continue
        if ns_same $i $j; then sound=$((sound + 1)); fi
    done
done
check "and reads and writes whole files there (were $sound)" equal $sound $mounted
check "a client with another namespace's certificate is refused" not ns_mount 9 1
check "with EACCES (was $mount_errno)" equal "$mount_errno" EACCES
check "t1's line names namespace, profile and reason" log_has \
    'NFS server in namespace t1, profile server 1: .* failed: the peer.s certificate is from an unknown authority'
check "each success names its namespace and profile" test \
    "$(log_count 'NFS client in namespace t[0-9]+, profile client of [0-9]+: .* is up')" -ge $mounted
check "nothing was served without a profile" not log_has 'NFS (client|server): TLS'
for ((i = 1; i <= count; i++)); do
    for ((j = 1; j <= count; j++)); do [ $i = $j ] || ns_run $i umount /mnt/t$i-$j 2>/dev/null; done
done
