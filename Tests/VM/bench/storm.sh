# shellcheck shell=bash
# shows: 200 NFS clients, each in a network namespace of its own, after a restart of their server: time until the last is served
# guest: uml
# limit: 1800
count=200
ip link add rigbr type bridge
ip addr add 10.9.0.254/16 dev rigbr
ip link set rigbr up
sed -i 's/^::1 server6.rig$/10.9.0.254 server6.rig/' /etc/hosts
for ((i = 1; i <= count; i++)); do
    printf '%s\n' "netns add t$i" "link add rig$i type veth peer name eth0 netns t$i" "link set rig$i master rigbr up"
done | ip -batch -
for ((i = 1; i <= count; i++)); do
    printf '%s\n' "addr add 10.9.1.$i/16 dev eth0" "link set lo up" "link set eth0 up" | ip -n t$i -batch -
done
daemon_config
printf '%s\n' "[namespaces]" "named=yes" "[profile clients]" "match.namespace=*" "match.role=client" \
    "x509.truststore=$PKI/ca.pem" "x509.certificate=$PKI/client.pem" "x509.private_key=$PKI/client.key" \
    >>"$WORK/tlshd.conf"
DAEMON_LOG=$WORK/daemon.log
: >"$DAEMON_LOG"
daemon_start
nfs_export mtls
echo here >"$EXPORT/name"
for ((i = 1; i <= count; i++)); do
    mkdir -p /mnt/t$i
    # A UTS name of its own: NFSv4 tells clients apart by it.
    nsenter --net=/run/netns/t$i unshare --uts sh -c "hostname t$i; exec mount -t nfs4 \
        -o vers=4.2,xprtsec=mtls,retry=0,noac,soft server6.rig:/ /mnt/t$i" || break
done
mounted=$(grep -c ' /mnt/t[0-9]* nfs4 ' /proc/mounts)
check "all clients have mounted (have $mounted)" equal "$mounted" $count
rpc.nfsd 0
log_mark
begin=$(now_ms)
rpc.nfsd -N 3 8
pids=()
for ((i = 1; i <= count; i++)); do
    { timeout 90 cat "/mnt/t$i/name" >"$WORK/read.$i" && now_ms; } >"$WORK/done.$i" 2>/dev/null &
    pids+=($!)
done
wait "${pids[@]}"
served=$(cat "$WORK"/done.* | wc -l)
last=$(cat "$WORK"/done.* | sort -n | tail -1)
median=$(cat "$WORK"/done.* | sort -n | sed -n "$((served / 2 + 1))p")
figure storm "clients=$count mounted=$mounted served=$served median_ms=$((median - begin)) last_ms=$((last - begin))"
figure storm-failures "lines=$(log_count 'NFS (client|server).*: TLS with .* failed: ')"
# How many are served in that time is a figure; what they read is right or wrong.
right=$(cat "$WORK"/read.* | grep -cx here)
check "clients are served again, and read the file as it is (did $right)" test "$right" -gt 0 -a "$right" -ge "$served"
for ((i = 1; i <= count; i++)); do umount -f -l "/mnt/t$i"; done
