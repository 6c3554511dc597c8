# shellcheck shell=bash
# shows: the hardened unit with its drop-in file serves AF_TLSH; restarts in the midst of handshakes fail none, listeners included
# guest: systemd
# module: tlsh
service_install
tlsh_load
cp "$WORK/tlshd.conf" /etc/tlshd/config
service_dropin af-tlsh </usr/share/doc/tlshd/examples/af-tlsh.conf
service_start
check "systemd keeps both listeners" test "$(service_property NFileDescriptorStore)" -ge 4

# handshakes: both ends are the daemon's.
handshakes() {
    local port=4500
    while [ -e "$WORK/go" ]; do
        port=$((port + 1))
        tlsh_start server listen 127.0.0.1 $port type=3
        # In a shell of its own: the end of the other would interrupt this one.
        (tlsh_ask connect 127.0.0.1 $port type=0 peername=127.0.0.1)
        tlsh_end
        cat "$WORK/server"
    done >"$WORK/outcomes"
}
ended() { wc -l <"$WORK/outcomes"; }
ended_more() { [ "$(ended)" -gt "$1" ]; }
nothing_kept() { [ "$(service_property NFileDescriptorStore)" = 0 ]; }
touch "$WORK/go"
handshakes &
load=$!
require "handshakes are made" within 30 ended_more 1
for _ in 1 2 3 4; do
    pid=$(service_pid) before=$(ended)
    systemctl restart tlshd.service || break
    check "a new process serves" within 10 service_new "$pid"
    check "and handshakes go on" within 30 ended_more $((before + 3))
done
rm "$WORK/go"
wait $load
say "      $(ended) ends of connections"
grep -v '^connected=0 submitted=0 status=0 data=0 carried=100000 ' "$WORK/outcomes"
check "every one was keyed and carried its data" not grep -qv '^connected=0 submitted=0 status=0 data=0 carried=100000 ' "$WORK/outcomes"
check "old processes served on until new ones did" within 10 log_has 'keeps serving until the replacement is ready'
systemctl stop tlshd.service
check "systemd keeps nothing after a stop" within 15 nothing_kept
check "nothing is left of it" within 10 not pgrep -x 'tlshd|tlshd-worker'
tlsh_unload
