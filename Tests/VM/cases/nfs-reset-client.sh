# shellcheck shell=bash
# shows: an NFS server that resets the connection in the handshake is noticed by the client within a second
# guest: uml qemu
# A reset on an NFS client's socket wakes no poller (net/sunrpc/xprtsock.c), so the daemon has to look.
told() { log_has 'reset|closed|terminated|gone|fail'; }
heard() { ! kill -0 "$mount_pid" 2>/dev/null || fake_said connection 2; }

modprobe nfs
daemon_start
fake_listen 20490 reset --rpc --after 2
nfs_mount tls 127.0.0.1 port=20490 &
mount_pid=$!
check "the client says hello" within 15 fake_said hello
check "no line yet" not told
check "the server resets" within 15 fake_said reset
check "within a second a line tells so" within 1 told
check "and the client of the kernel hears: it gives up or comes again" within 2 heard
fake_show
