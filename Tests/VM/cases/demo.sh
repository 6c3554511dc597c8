# shellcheck shell=bash
# shows: what make demo shows: NFS over TLS and over mutual TLS, an NVMe namespace over TLS, a handshake by AF_TLSH
# guest: qemu
# module: tlsh
subsystem=nqn.2026-01.rig:sub

# quietly COMMAND...: what is not part of the story, unless it fails.
quietly() { "$@" >"$WORK/quiet" 2>&1 || { cat "$WORK/quiet" && shown "$*" false; }; }

nfs_step() { # XPRTSEC COUNTERS
    tls_mark
    typed "mount -t nfs4 -o xprtsec=$1 server.rig:/ /mnt/rig"
    typed "cp report.txt /mnt/rig/report.txt"
    typed "cmp /mnt/rig/data /srv/rig/data && echo equal, $(stat -c %s /srv/rig/data) bytes read"
    typed "cmp report.txt /srv/rig/report.txt && echo equal, $(stat -c %s report.txt) bytes written"
    typed "umount /mnt/rig"
    daemon_says
    counters "two sockets, the client's and the server's" 2
}

cd "$WORK" || exit
tell "This is a virtual machine with Linux $(uname -r) as the distribution builds it, server and client in one. When NFS" \
    "or NVMe wants TLS, the kernel hands its socket to the daemon, which shakes hands, gives the keys to the kernel" \
    "(kTLS) and the socket back. From then on the kernel encrypts by itself."

heading "Start the daemon"
quietly nvme_modules
quietly tlsh_load
typed "cat tlshd.conf"
printf '%s# tlshd -s -c tlshd.conf &%s\n' "$bold" "$plain"
daemon_start >quiet || { cat quiet "$DAEMON_LOG" && exit 1; }
log_from=1
daemon_says

heading "1. NFS over TLS: the client checks the server's certificate"
quietly nfs_server 8
quietly nfs_space
seq 100000 >report.txt
typed "exportfs -o rw,fsid=0,insecure,no_root_squash,no_subtree_check,xprtsec=tls:mtls '*:/srv/rig'"
nfs_step tls

heading "2. NFS over mutual TLS: the server checks the client's certificate too"
typed "exportfs -o rw,fsid=0,insecure,no_root_squash,no_subtree_check,xprtsec=mtls '*:/srv/rig'"
nfs_step mtls

heading "3. An NVMe namespace over TLS: both sides hold a pre-shared key"
tell "A target on 127.0.0.1 port 4420 offers a namespace of 64 MiB and wants TLS 1.3."
typed "nvme gen-tls-key --insert --hmac=1 --identity=1 --subsysnqn=$subsystem \\
    --hostnqn=$NVME_HOST >key"
quietly nvme_target $subsystem
tls_mark
typed "nvme connect -t tcp -a 127.0.0.1 -s 4420 -n $subsystem --tls --nr-io-queues=1 \\
    --hostnqn=$NVME_HOST --hostid=$NVME_HOST_ID"
shown "the namespace appears" within 10 nvme_has_device $subsystem
device=$(nvme_device $subsystem)
typed "dd if=/srv/rig/data of=$device bs=1M count=2 oflag=direct conv=fsync status=none"
typed "cmp -n 2097152 $device /srv/rig/data && echo equal, 2097152 bytes read back"
typed "cmp -n 2097152 disk-1 /srv/rig/data && echo equal, 2097152 bytes on the disk of the target"
daemon_says
counters "an admin queue and an I/O queue, two ends each" 4
typed "nvme disconnect -n $subsystem"

heading "4. AF_TLSH: the other way in, by which the kernel connects to a listening socket of the daemon"
tell "No released kernel has this family; a module brings it here, with a consumer that is driven by /proc/tlsh. One end" \
    "listens, the other connects, each asks for a handshake; then bytes go there and back through kTLS."
tls_mark
printf '%s# echo listen 127.0.0.1 4433 type=3 >/proc/tlsh &%s\n' "$bold" "$plain"
tlsh_start server listen 127.0.0.1 4433 type=3
typed "exec 3<>/proc/tlsh; echo connect 127.0.0.1 4433 type=0 peername=localhost >&3; head -n 1 <&3 | tee outcome"
tlsh_end
shown "the client's end carried the bytes" grep -q "status=0 data=0 carried=100000" outcome
shown "the server's end carried them" grep -q "status=0 data=0 carried=100000" server
daemon_says
counters "two sockets, the client's and the server's" 2

heading "Done"
if [ "$failures" = 0 ]; then
    tell "Three uses of TLS by an unpatched kernel and one by a family to come, all through one daemon."
fi
