# shellcheck shell=bash
# shows: AF_TLSH: a second daemon names the one that listens, keeps trying, and takes over when that ends
# guest: qemu
# module: tlsh
tlsh_load
daemon_start
first=$daemon_pid
daemon_start
check "it names the process in its way" grep -q "another process listens .*IPv4.* tlshd ($first)" "$DAEMON_LOG"
check "for IPv6 too" grep -q "another process listens .*IPv6.* tlshd ($first)" "$DAEMON_LOG"
tlsh_peer_serves openssl 4433 --certificate server --count 2
check "the first one serves" tlsh_carried "$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=localhost)"
kill -TERM "$first"
check "the second takes over" within 20 log_has 'served for IPv4 now'
check "for IPv6 too" within 20 log_has 'served for IPv6 now'
check "and serves" tlsh_carried "$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=localhost)"
check "it says so once, not at each try" equal "$(grep -c 'another process listens' "$DAEMON_LOG")" 2
daemon_stop
tlsh_unload
