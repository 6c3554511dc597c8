# shellcheck shell=bash
# Sourced: the daemon under test. Its log is $DAEMON_LOG; a case may start it several times, the log goes on.
daemon_pid=""
log_from=1

# daemon_config [KEY=VALUE...]: writes $WORK/tlshd.conf. Keys: client, server (certificate names of the test PKI),
# client_trust, server_trust (authorities), client_crl, server_crl (files of the PKI), keyrings, psk_file.
daemon_config() {
    local client=client server=server client_trust=ca server_trust=ca client_crl="" server_crl="" keyrings="" psk_file="" word
    for word; do local "${word%%=*}=${word#*=}"; done
    {
        # The peer reports the end of a handshake from level 1 on only.
        printf '%s\n' "[debug]" "loglevel=$((${RIG_PEER:-0} > 0 ? 1 : 0))" "[authenticate]"
        [ -z "$keyrings" ] || echo "keyrings=$keyrings"
        [ -z "$psk_file" ] || echo "psk.file=$psk_file"
        daemon_config_role client "$client" "$client_trust" "$client_crl"
        daemon_config_role server "$server" "$server_trust" "$server_crl"
    } >"$WORK/tlshd.conf"
}

# log_every_failure: after daemon_config; else a server writes twenty lines a minute about one peer, and then a sum. Nor is
# the peer refused for a time where an emulated processor takes long.
log_every_failure() {
    sed -i 's/^loglevel=0$/loglevel=1/' "$WORK/tlshd.conf"
    printf '%s\n' "[limits]" "penalty_exempt=127.0.0.1" >>"$WORK/tlshd.conf"
}

daemon_config_role() { # ROLE CERTIFICATE TRUST CRL
    printf '%s\n' "[authenticate.$1]" "x509.truststore=$PKI/$3.pem" \
        "x509.certificate=$PKI/$2.pem" "x509.private_key=$PKI/$2.key"
    [ -z "$4" ] || echo "x509.crl=$PKI/$4"
}

daemon_command() {
    if [ "${RIG_PEER:-0}" -gt 0 ]; then echo /usr/sbin/tlshd; else echo "$RIG_DAEMON/tlshd"; fi
}

# daemon_start [ARG...]: with $WORK/tlshd.conf, or the default one when the case wrote none; waits until it serves.
daemon_start() {
    local before
    [ -e "$WORK/tlshd.conf" ] || daemon_config
    before=$(wc -l <"$DAEMON_LOG")
    # A session keyring of its own, as a service has: else it would find what the case's tools link into theirs.
    (
        keyctl new_session >/dev/null
        exec "$(daemon_command)" -s -c "$WORK/tlshd.conf" "$@"
    ) >>"$DAEMON_LOG" 2>&1 </dev/null &
    daemon_pid=$!
    if [ "${RIG_PEER:-0}" -gt 0 ]; then
        require "ktls-utils listens" within 60 has_listener "$daemon_pid"
    else
        require "the daemon is ready" within 60 daemon_said_ready $((before + 1))
        # All but the first worker are started after that: two for each role.
        require "its workers are ready" within 60 daemon_has_workers
    fi
    log_mark
}

# daemon_has_workers: whether four workers have gone into their sandbox, which is the last step of their start.
daemon_has_workers() {
    local pid confined=0
    for pid in $(pgrep -P "$daemon_pid" -x tlshd-worker); do
        ! grep -qs '^Seccomp:.2$' "/proc/$pid/status" || confined=$((confined + 1))
    done
    [ $confined -ge 4 ]
}

# has_listener PID [FILE]: whether the process has a generic netlink socket that is in some group, by FILE, the
# /proc/net/netlink of its namespace. libnl has more than the process number in a port, above 22 bits.
has_listener() {
    awk -v pid="$1" '$2 == 16 && $3 % 4194304 == pid && $4 !~ /^0+$/ { found = 1 } END { exit !found }' \
        "${2:-/proc/self/net/netlink}"
}

# daemon_data_fits: whether the data of each worker takes at most half of its limit.
daemon_data_fits() {
    local pid data limit
    for pid in $(pgrep -P "$daemon_pid" -x tlshd-worker); do
        data=$(($(sed -n 's/^VmData:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status") * 1024))
        limit=$(sed -n 's/^Max data size *\([0-9]*\) .*/\1/p' "/proc/$pid/limits")
        say "      worker $pid: $data of $limit bytes of data"
        [ "$((2 * data))" -le "$limit" ] || return 1
    done
}

# daemon_said_ready LINE: whether the log says so, from that line on.
daemon_said_ready() { tail -n "+$1" "$DAEMON_LOG" | grep -q ' is ready: '; }

# daemon_stop [SIGNAL]: ends the daemon; daemon_status is its exit status, 124 when it did not end within 15 s.
daemon_stop() {
    kill "-${1:-TERM}" "$daemon_pid" 2>/dev/null
    daemon_status=124
    if within 15 not kill -0 "$daemon_pid" 2>/dev/null; then
        wait "$daemon_pid" 2>/dev/null
        daemon_status=$?
    fi
}

daemon_alive() { kill -0 "$daemon_pid" 2>/dev/null; }

# log_mark: from here on log_has, log_count and log_reached look. log_has REGEX: whether a line since then matches, case
# ignored; log_reached N REGEX: whether N do. The daemon writes a line after it has answered: what is to be there soon is
# asked for by `within`.
log_mark() { log_from=$(($(wc -l <"$DAEMON_LOG") + 1)); }
log_since() { tail -n "+$log_from" "$DAEMON_LOG"; }
# log_all_has: the same for the whole log.
log_all_has() { grep -qiE -- "$1" "$DAEMON_LOG"; }
log_has() { log_since | grep -qiE -- "$1"; }
log_reached() { [ "$(log_count "$2")" -ge "$1" ]; }
log_count() { log_since | grep -ciE -- "$1"; }
