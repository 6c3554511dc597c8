# shellcheck shell=bash
# shows: 80 network namespaces come and go, some in the middle of a handshake, while NFS mounts go on: nothing is left behind
# guest: uml
# check: no
# limit: 1200
{
    printf '%s\n' "[namespaces]" "named=yes" "processes=yes" "default_profile=yes"
    daemon_config_role client client ca ""
    daemon_config_role server server ca ""
} >"$WORK/tlshd.conf"
daemon_start
nfs_export mtls

descriptors() { find "/proc/$daemon_pid/fd" -mindepth 1 | wc -l; }
children() { pgrep -c -P "$daemon_pid"; }
memory() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$daemon_pid/status"; }
worker_descriptors() { for p in $(pgrep -P "$daemon_pid"); do ls "/proc/$p/fd"; done | wc -l; }

# one N: a namespace for a moment; in every fourth it goes while a mount waits for a server that took its ClientHello
# and says nothing. hung counts those, late what did not come in time.
hung=0 late=0
# After the first 20; soak/ns-churn.sh has 200.
number=${number:-80}
total=$((20 + number))
one() {
    local name=c$1 pids=() events=$WORK/events-$1
    ip netns add "$name"
    if (($1 % 4 == 0)); then
        nsenter --net="/run/netns/$name" ip link set lo up
        nsenter --net="/run/netns/$name" python3 "$lib/../fake/peer.py" listen 20490 stall --rpc >"$events" 2>&1 &
        pids+=($!)
        within 15 log_has "namespace $name is served" || late=$((late + 1))
        within 10 grep -q '^listening ' "$events" || late=$((late + 1))
        nsenter --net="/run/netns/$name" timeout 20 \
            mount -t nfs4 -o xprtsec=tls,retry=0,vers=4.2,port=20490 127.0.0.1:/ /mnt/churn >/dev/null 2>&1 &
        pids+=($!)
        within 10 grep -q '^hello ' "$events" && hung=$((hung + 1))
    elif (($1 % 4 == 1)); then
        within 10 log_has "namespace $name is served" || late=$((late + 1))
    fi
    ip netns delete "$name"
    if [ ${#pids[@]} != 0 ]; then
        kill -KILL "${pids[@]}" 2>/dev/null
        wait "${pids[@]}" 2>/dev/null
    fi
}

failed_in_gone() { grep -c 'NFS client in namespace c[0-9]*.* failed' "$DAEMON_LOG"; }

# The load ends between two mounts, not in one: what a killed mount leaves in the kernel would be the next one's.
load() {
    until [ -e "$WORK/enough" ]; do
        mount -t nfs4 -o xprtsec=mtls,retry=0,vers=4.2 server.rig:/ "$MOUNT" && umount "$MOUNT"
    done
}
load_end() {
    touch "$WORK/enough"
    wait "$load_pid"
    rm "$WORK/enough"
}

mkdir -p /mnt/churn "$MOUNT"
load >/dev/null 2>&1 &
load_pid=$!
for ((n = 0; n < 20; n++)); do one $n; done
load_end
sleep 3
before=$(descriptors) workers_before=$(worker_descriptors) children_before=$(children) memory_before=$(memory)
say "      before: $before descriptors, $workers_before of workers, $children_before children, $memory_before kB"

load >/dev/null 2>&1 &
load_pid=$!
for ((n = 20; n < total; n++)); do one $n; done
load_end
check "the load has left no mount" not mountpoint -q "$MOUNT"
settled() { [ "$(descriptors)" -le "$before" ] && [ "$(worker_descriptors)" -le "$workers_before" ]; }
check "no descriptor is left" within 20 settled
say "      after: $(descriptors) descriptors, $(worker_descriptors) of workers, $(children) children, $(memory) kB"
check "no process" equal "$(children)" "$children_before"
check "no memory to speak of" test $(($(memory) - memory_before)) -le 2048
served=$(grep -c 'namespace c[0-9]* is served' "$DAEMON_LOG")
gone=$(grep -c 'namespace c[0-9]* is no longer served' "$DAEMON_LOG")
check "all that were served were let go (were $served and $gone)" equal "$served" "$gone"
check "which were nearly half at least" test "$served" -ge $((total * 45 / 100))
# Of each quarter; a few may be too late on a slow machine.
check "nearly all were served in time, and their peers were ready (not: $late)" at_most $late $((total * 7 / 100))
check "handshakes were under way in many when they went (in $hung)" test "$hung" -ge $((total * 18 / 100))
check "each of them has failed, with a line (were $(failed_in_gone))" test "$(failed_in_gone)" -ge "$hung"
mounts=$(grep -c 'NFS server: TLS with .* is up' "$DAEMON_LOG")
check "mounts went on all the time (were $mounts)" test "$mounts" -ge $((total / 11))
check "none of them failed" not grep -q 'NFS server: TLS with .* failed' "$DAEMON_LOG"
nfs_works mtls
