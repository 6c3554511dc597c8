# shellcheck shell=bash
# shows: who else listens for handshakes is named when it comes and when it goes, in each namespace
# guest: uml
listen='import socket, struct, sys, time
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
s.bind((0, 0))
name = b"handshake\0"
attribute = struct.pack("HH", 4 + len(name), 2) + name + b"\0\0"
s.send(struct.pack("IHHII", 20 + len(attribute), 16, 1, 1, 0) + struct.pack("BBH", 3, 1, 0) + attribute)
def attributes(data):
    while data:
        length, kind = struct.unpack("HH", data[:4])
        yield kind & 0x3fff, data[4:length]
        data = data[length + 3 & ~3:]
for kind, value in attributes(s.recv(65536)[20:]):
    if kind == 7:
        for _, group in attributes(value):
            parts = dict(attributes(group))
            if parts[1] == b"tlshd\0":
                s.setsockopt(270, 1, struct.unpack("I", parts[2])[0])
print("joined", flush=True)
time.sleep(600)'
printf '%s\n' "[namespaces]" "named=yes" >"$WORK/tlshd.conf"
daemon_start
sleep 1
check "alone, it sees nobody" not log_has 'listens for TLS'

setpriv --reuid=65534 --regid=65534 --clear-groups python3 -c "$listen" >"$WORK/joined" &
rival=$!
require "an unprivileged process joins the group" within 10 grep -q joined "$WORK/joined"
check "it is named within ten seconds" within 12 log_has "python3 \(process $rival\) listens for TLS handshakes, too"
sleep 11
check "once" equal "$(log_count 'listens for TLS handshakes, too')" 1
kill "$rival"
check "and when it goes" within 12 log_has "python3 \(process $rival\) does not listen for TLS handshakes any longer"

log_mark
ns_make 1
require "a namespace is served" within 1 log_has 'namespace t1 is served'
ns_run 1 python3 -c "$listen" >"$WORK/joined" &
check "one in another namespace is named with it" within 15 log_has \
    'python3 \(process [0-9]+\) listens for TLS handshakes in namespace t1, too'
check "and only there" not log_has 'listens for TLS handshakes, too'
