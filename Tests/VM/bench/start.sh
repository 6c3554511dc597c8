# shellcheck shell=bash
# shows: from exec to READY=1, and to the end of a first handshake, with the files in memory and without; both daemons
# guest: uml qemu
# module: load
bench_open
daemon_config
mkdir -p "$WORK/cgroup"
require "processor time is counted by group" mount -t cgroup2 none "$WORK/cgroup"
for _ in 1 2 3 4 5; do
    for who in ours peer; do
        contestant $who
        for state in cold warm; do
            sync
            [ $state = warm ] || echo 3 >/proc/sys/vm/drop_caches
            python3 "$RIG_VM/bench/ready.py" $who-$state "$(daemon_command)" -s -c "$WORK/tlshd.conf" 2>>"$DAEMON_LOG"
        done
    done
done
umount "$WORK/cgroup"
bench_close
