# shellcheck shell=bash
# shows: from exec to READY=1, and to the end of a first handshake
# guest: uml qemu
# module: load
bench_open
daemon_config
for _ in 1 2 3 4 5; do
    python3 "$RIG_VM/bench/ready.py" "$RIG_DAEMON/tlshd" -s -c "$WORK/tlshd.conf" 2>>"$DAEMON_LOG"
done
bench_close
