# shellcheck shell=bash
# shows: where the processes spend their system calls: strace -c and -w over 100 pairs
# guest: qemu
# limit: 120
# module: load
load_open
daemon_start
load warm run 12 4 x509
for pid in $(tasks); do
    strace -f -c -w -S time -o "$WORK/calls.$pid" -p "$pid" 2>/dev/null &
done
sleep 2
load traced run 60 8 x509
pkill -INT strace
sleep 1
for pid in $(tasks); do
    echo "--- $(cat "/proc/$pid/comm") $pid"
    head -24 "$WORK/calls.$pid"
done
pid=$(pgrep -ox tlshd)
timeout 3 strace -r -s 40 -o "$WORK/order" -p "$pid" 2>/dev/null &
sleep 1
load one run 2 1 x509
sleep 2
head -150 "$WORK/order"
daemon_stop
rmmod tlsload
check "it ran" true
