# shellcheck shell=bash
# shows: AF_TLSH: a second daemon names the one that listens, keeps trying, and takes over when that ends
# guest: qemu
# module: tlsh
tlsh_load
daemon_start
first=$daemon_pid
daemon_start
# Without CAP_SYS_PTRACE the daemon cannot see whose socket it is; tlshctl, run by an administrator, can.
check "it says that another process is in its way" grep -q "another process listens .*IPv4.* names it" "$DAEMON_LOG"
check "for IPv6 too" grep -q "another process listens .*IPv6.* names it" "$DAEMON_LOG"
ctl check --config "$WORK/tlshd.conf"
check "tlshctl check names the process" grep -q "tlshd ($first) listens on AF_TLSH" <<<"$ctl_text"
tlsh_peer_serves openssl 4433 --certificate server --count 2
check "the first one serves" tlsh_carried "$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=localhost)"
kill -TERM "$first"
check "the second takes over" within 20 log_has 'served for IPv4 now'
check "for IPv6 too" within 20 log_has 'served for IPv6 now'
check "and serves" tlsh_carried "$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=localhost)"
check "it says so once, not at each try" equal "$(grep -c 'another process listens' "$DAEMON_LOG")" 2
daemon_stop
tlsh_unload
