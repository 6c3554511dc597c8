# shellcheck shell=bash
# Sourced: tlshd as a service of the guest "systemd", installed from its Debian package. Its journal is $DAEMON_LOG.

service_followed=""

# service_install: what a case that is not about installing begins with.
service_install() {
    # A build is newer than what a case before may have installed only by its content.
    if ! cmp -s "$RIG_DEB" /run/rig/installed.deb; then
        require "the package installs" service_dpkg --install "$RIG_DEB"
        cp "$RIG_DEB" /run/rig/installed.deb
    fi
    # What ktls-utils leaves behind is read instead of our settings.
    rm -f /etc/tlshd.conf
    service_settings
}

service_dpkg() { DEBIAN_FRONTEND=noninteractive dpkg --force-confdef "$@" >"$WORK/dpkg" 2>&1 || { cat "$WORK/dpkg" && return 1; }; }

# service_settings [KEY=VALUE...]: /etc/tlshd/config, see daemon_config.
service_settings() {
    daemon_config "$@"
    mkdir -p /etc/tlshd
    cp "$WORK/tlshd.conf" /etc/tlshd/config
}

# journal_cursor: prints the end of the journal, after the lines that were written before this call: journald adds them
# later than their writers send them.
journal_cursor() {
    journalctl --sync
    journalctl --lines 0 --show-cursor | sed -n 's/^-- cursor: //p'
}

# service_follow: from here on the journal of the unit comes to $DAEMON_LOG.
service_follow() {
    [ -z "$service_followed" ] || return 0
    service_followed=1
    # By its place in the journal: journalctl takes a moment to begin.
    journalctl --unit tlshd --after-cursor "$(journal_cursor)" --no-tail --follow --output cat >>"$DAEMON_LOG" 2>/dev/null &
}

service_start() {
    local before
    service_follow
    before=$(wc -l <"$DAEMON_LOG")
    require "systemctl start" systemctl restart tlshd.service
    # What it says as it starts takes its way through the journal.
    require "and it is ready" within 60 daemon_said_ready $((before + 1))
    log_mark
}

service_property() { systemctl show --property "$1" --value tlshd.service; }
service_pid() { service_property MainPID; }
service_active() { [ "$(systemctl is-active tlshd.service)" = active ]; }

# service_new PID: whether the service runs, in another process than PID.
service_new() { service_active && [ "$(service_pid)" != "$1" ] && [ "$(service_pid)" != 0 ]; }

# service_dropin NAME: a drop-in file from standard input.
service_dropin() {
    mkdir -p /etc/systemd/system/tlshd.service.d
    cat >"/etc/systemd/system/tlshd.service.d/$1.conf"
    systemctl daemon-reload
}
