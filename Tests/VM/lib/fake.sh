# shellcheck shell=bash
# Sourced: peers that misbehave, see fake/peer.py. One at a time; its events are lines in $WORK/fake.
fake_pid="" rival=""

fake_start() { # ARG...
    python3 "$RIG_VM/fake/peer.py" "$@" >"$WORK/fake" 2>"$WORK/fake.err" &
    fake_pid=$!
}

# fake_said EVENT [NUMBER]: whether the peer has told it. fake_when EVENT: milliseconds since the epoch of the first.
fake_said() { grep -qE "^$1 ${2:-[0-9]+} " "$WORK/fake"; }
fake_count() { grep -cE "^$1 " "$WORK/fake"; }
fake_when() { awk -v e="$1" '$1 == e { print $3; exit }' "$WORK/fake"; }

fake_listen() { # PORT ARG...
    fake_start listen "$@"
    require "a false server listens on port $1" within 15 fake_said listening
}

fake_stop() {
    kill "$fake_pid" 2>/dev/null
    wait "$fake_pid" 2>/dev/null
}

fake_show() { sed 's/^/          the false peer: /' "$WORK/fake" "$WORK/fake.err"; }

# rival_start: an unprivileged process, $rival, that listens for handshakes, too. rival_stop ends it.
rival_start() {
    setpriv --reuid=65534 --regid=65534 --clear-groups python3 - <"$RIG_VM/fake/rival.py" >"$WORK/joined" 2>&1 &
    rival=$!
    require "an unprivileged process joins the group" within 30 grep -q joined "$WORK/joined"
}

rival_stop() {
    kill "$rival" 2>/dev/null
    wait "$rival" 2>/dev/null
}

# refuser_start HOW [ARG...]: an NFS server that refuses each client's certificate, see fake/refuser.py.
refuser_start() {
    python3 "$RIG_VM/fake/refuser.py" 2049 "$1" --pki "$PKI" "${@:2}" >"$WORK/fake" 2>"$WORK/fake.err" &
    fake_pid=$!
    require "a server listens that refuses by $1" within 15 fake_said listening
}
refuser_stop() { fake_stop; }

# stranger_start INPUT ARG...: a stranger that has the NFS server of this guest compute, see fake/stranger.py. The guest
# may have one processor only, so it leaves that to others; what it costs the server is all the same.
stranger_start() {
    nice -n 19 python3 "$RIG_VM/fake/stranger.py" client 2049 "$1" --rpc "${@:2}" >"$WORK/fake" 2>"$WORK/fake.err" &
    fake_pid=$!
}
stranger_sent() { [ "$(fake_count bytes)" -ge "$1" ]; }
