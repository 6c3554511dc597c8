# shellcheck shell=bash
# shows: our image as a container of the DaemonSet: a mount over TLS, the probes, what the container is denied, its memory limit, and its end
# guest: uml
# module: runtime
PATH=$PATH:$RIG_RUNTIME/usr/sbin
pod=$WORK/pod
manifest=$(dirname "$RIG_DOCS")/contrib/kubernetes/daemonset.yaml

# probe NAME: runs that probe as kubelet does.
probe() {
    local command
    mapfile -t command <"$pod/probes/$1"
    runc exec tlshd "${command[@]}" >"$WORK/probe" 2>&1
}
probe_shows() { probe readiness && grep -qE "$1" "$WORK/probe"; }
# shown NAME: a line of the broker's status in /proc.
shown() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$daemon_pid/status"; }
group() { cat "/sys/fs/cgroup/tlshd/$1"; }

require "there is an image (make image)" test -e "$RIG_IMAGE/index.json"
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "$WORK/secret" /mnt/image
# A file system of its own, as containers have.
mount -t tmpfs image /mnt/image
cp "$PKI/ca.pem" "$WORK/secret/ca.crt"
cp "$PKI/client.pem" "$WORK/secret/tls.crt"
cp "$PKI/client.key" "$WORK/secret/tls.key"
require "a bundle of image and DaemonSet" python3 "$RIG_VM/lib/pod.py" "$RIG_IMAGE" "$manifest" "$WORK/secret" /mnt/image "$pod"
# The same tlshd serves the guest's server.
cp "$PKI/server.pem" "$PKI/server.key" "$PKI/ca.pem" "$pod/volumes/config/..data/"
printf '%s\n' "[authenticate.server]" x509.truststore=/etc/tlshd/config.d/..data/ca.pem \
    x509.certificate=/etc/tlshd/config.d/..data/server.pem x509.private_key=/etc/tlshd/config.d/..data/server.key \
    >"$pod/volumes/config/server.conf"

runc run --detach --bundle "$pod" --pid-file "$WORK/pid" tlshd >>"$DAEMON_LOG" 2>&1 </dev/null
require "the container starts" test -s "$WORK/pid"
daemon_pid=$(cat "$WORK/pid")
require "it has started, by its probe" within 60 probe startup
check "it is ready" within 30 probe readiness
sed 's/^/          /' "$WORK/probe"
check "it is alive" probe liveness


check "in the host's network namespace" equal "$(readlink "/proc/$daemon_pid/ns/net")" "$(readlink /proc/self/ns/net)"
check "with the capabilities of the unit" equal "$(shown CapBnd)" 00000000000011e0
check "and no new privileges" equal "$(shown NoNewPrivs)" 1
check "its root is read-only" grep -q '^[^ ]* / tmpfs ro,' "/proc/$daemon_pid/mounts"
check "the ConfigMap, whose directory everybody may write, is not complained about" not log_all_has 'can be written by others'
check "that memory is not locked is told once" equal "$(grep -c 'workers are less confined.*RLIMIT_MEMLOCK' "$DAEMON_LOG")" 1

log_mark
nfs_export mtls
nfs_works mtls
check "the client's line says so" within 10 log_has 'NFS client: TLS with server.rig .* is up: x509, .*peer CN=server,'
check "the server's as well" within 10 log_has 'NFS server: TLS with .* is up: x509, .*peer CN=client,'
check "it takes the memory at most that docs/operating.md says" at_most "$(group memory.current)" 27500000
say "      memory: $(group memory.current) of $(group memory.max) bytes, $(group memory.stat | head -1) of it"

# kubelet writes a renewed Secret into a new folder.
cp -r "$pod/volumes/keys/..data/." "$pod/volumes/keys/..renewed"
cp "$PKI/client-gone.pem" "$pod/volumes/keys/..renewed/tls.crt"
cp "$PKI/client-gone.key" "$pod/volumes/keys/..renewed/tls.key"
ln -s ..renewed "$pod/volumes/keys/..new"
mv -T "$pod/volumes/keys/..new" "$pod/volumes/keys/..data"
check "a renewed Secret is used" within 10 log_has 'client credentials: .*certificate CN=client-gone '
nfs_works mtls
check "with its certificate" within 10 log_has 'NFS server: TLS with .* is up: x509, .*peer CN=client-gone,'

printf '%s\n' "[authenticate]" keyrings=rig >"$pod/volumes/config/keyrings.conf"
check "a keyring is not found by its name, because the runtime hides the list" within 10 \
    probe_shows '^WARNING: keyrings are not found by name: read /proc/keys: it is empty'
rm "$pod/volumes/config/keyrings.conf"
check "which is no problem without one" within 10 probe_shows '^ok'
rm "$pod/volumes/keys/..data/tls.key"
check "a problem is shown" within 10 probe_shows '^WARNING: .*tls.key'
check "and it is still ready" probe readiness

runc kill tlshd TERM
check "it ends within the DaemonSet's 15 s" within 15 not test -e "/proc/$daemon_pid/root"
runc delete --force tlshd
umount /mnt/image
