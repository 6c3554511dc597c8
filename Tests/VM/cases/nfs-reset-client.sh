# shellcheck shell=bash
# shows: an NFS server that resets the connection in the handshake is noticed by the client at once
# guest: uml qemu
# check: uml
# A reset on an NFS client's socket wakes no poller (net/sunrpc/xprtsock.c), so the daemon has to look.
# Its deadline is some seconds away.
heard() { ! kill -0 "$mount_pid" 2>/dev/null || fake_said connection 2; }

modprobe nfs
daemon_start
fake_listen 20490 reset --rpc --after 2
nfs_mount tls 127.0.0.1 port=20490 &
mount_pid=$!
check "the client says hello" within 15 fake_said hello
check "no line yet" not log_has 'NFS client: '
check "the server resets" within 15 fake_said reset
check "at once a line tells so" within 5 log_has 'NFS client: TLS with 127.0.0.1 \(127.0.0.1:20490\) failed: the connection broke '
check "and the client of the kernel hears: it gives up or comes again" within 5 heard
fake_show
