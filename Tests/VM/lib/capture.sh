# shellcheck shell=bash
# Sourced: packet capture on the loopback interface.

capture_start() { # FILE PORT
    capture_file=$1
    tcpdump -i lo -s 0 -U -B 8192 -w "$1" "tcp port $2" 2>"$1.err" &
    capture_pid=$!
    require "tcpdump listens" within 10 grep -q "listening on" "$1.err"
}

capture_stop() {
    # tcpdump does not tell when it has written all: the kernel gives it packets at the latest after its timeout of 1 s.
    sleep 1
    kill -INT "$capture_pid"
    wait "$capture_pid" 2>/dev/null
    say "      $(grep -E 'packets (captured|dropped)' "$capture_file.err" | tr '\n' ' ')"
}

capture_complete() { grep -q '^0 packets dropped by kernel' "$capture_file.err"; }
capture_bytes() { stat -c %s "$capture_file"; }
capture_has() { grep -qaF -- "$1" "$capture_file"; }
