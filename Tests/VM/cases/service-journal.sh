# shellcheck shell=bash
# shows: the journal's fields and numbers of lines, what journalctl -x says to them, and the result lines of ktls-utils by setting
# guest: systemd
# check: no
# told ARG...: the journal of this case.
told() { journalctl --no-pager --quiet --unit tlshd --after-cursor "$mark" "$@"; }

# number SUBJECT: which number the catalogue has for it.
number() { journalctl --list-catalog | grep -F " tlshd: $1" | cut -d ' ' -f 1; }

# told_once SUBJECT PRIORITY: whether there is one line of this number, of this severity.
told_once() { [ "$(told "MESSAGE_ID=$(number "$1")" --output cat --output-fields PRIORITY)" = "$2" ]; }

# historic TEXT PRIORITY: whether there is such a line of ktls-utils.
historic() { told --output cat --output-fields MESSAGE "PRIORITY=$2" | grep -qxE "$1"; }

# other_settings LINE [KEY=VALUE...]: settings with LINE in [debug], read at once.
other_settings() {
    service_settings "${@:2}"
    sed -i "/^\[debug\]/a $1" /etc/tlshd/config
    systemctl reload tlshd.service
    log_mark
}

service_install
# Installation may have started it.
systemctl stop tlshd.service
mark=$(journal_cursor)
wanted=$(grep -c '^-- ' /usr/lib/systemd/catalog/tlshd.catalog)
check "installation has compiled the catalogue" equal "$(journalctl --list-catalog | grep -c ' tlshd: ')" "$wanted"
service_settings server=server-old
service_start
nfs_export mtls:tls
check "the start has its number" within 60 told_once "tlshd is ready" 5

# A mount that is refused.
nfs_refused tls EACCES
expired="TLS with @TLSHD_PEER@ failed: the peer's certificate has expired"
refused() { told --output json "MESSAGE_ID=$(number "$expired")" | tee "$WORK/refused" | grep -q .; }
require "a mount that is refused has its number" within 15 refused
cat "$WORK/refused"
check "one line has its number" equal "$(wc -l <"$WORK/refused")" 1
python3 - "$WORK/refused" <<'END' >"$WORK/fields"
import json, sys
for name, value in json.load(open(sys.argv[1])).items():
    print(f"{name}={value}")
END
for field in 'MESSAGE=NFS client: TLS with server.rig .* failed: .* expired.*' PRIORITY=3 SYSLOG_IDENTIFIER=tlshd \
    '_SYSTEMD_UNIT=tlshd.service' 'TLSHD_CONSUMER=NFS client' 'TLSHD_PEER=.*:2049' TLSHD_PEER_NAME=server.rig \
    'TLSHD_PEER_SUBJECT=.*' 'TLSHD_MODE=anonymous client' TLSHD_STATUS=EACCES 'TLSHD_MILLISECONDS=[0-9]+' \
    TLSHD_REASON=certificateExpired 'TLSHD_DETAIL=.*' 'TLSHD_REMEDY=renew it on the peer' \
    TLSHD_ALERT_SENT=certificate_expired; do
    check "with $field" grep -qxE "$field" "$WORK/fields"
done
peer=$(sed -n 's/^TLSHD_PEER=//p' "$WORK/fields")
told --catalog "MESSAGE_ID=$(number "$expired")" >"$WORK/explained"
cat "$WORK/explained"
check "journalctl -x says what it is" grep -qF "Subject: TLS with $peer failed: the peer's certificate has expired" "$WORK/explained"
check "whose" grep -q 'Defined-By: tlshd' "$WORK/explained"
check "what the kernel was told" grep -q 'The kernel was told EACCES' "$WORK/explained"
check "and the remedy" grep -q 'Remedy: renew it on the peer' "$WORK/explained"
check "where more stands" grep -qF 'Documentation: man:tlshd(8)' "$WORK/explained"
check "no line of ktls-utils unless it is wanted" not historic 'Handshake .*' 3

# ktls-utils' lines.
other_settings ktls_utils_lines=1.1 server=server-old
nfs_refused tls EACCES
check "a failure as ktls-utils tells it" within 15 historic "Handshake with 'server.rig' \([^ ]*\) failed" 3
check "beside ours" within 10 log_has "NFS client: TLS with server.rig .* failed: the peer's certificate has expired "
other_settings ktls_utils_lines=1.1
nfs_works tls
check "a success as 1.1 tells it" within 15 historic 'Handshake with server.rig \([^ ]*\) was successful' 6
other_settings ktls_utils_lines=1.2
nfs_works tls
check "and as 1.2 does" within 15 historic "Handshake with 'server.rig' \([^ ]*\) succeeded" 6
check "beside ours" within 10 log_has 'NFS client: TLS with server.rig .* is up'

# What the daemon says of itself.
pkill -KILL -n -x tlshd-worker
check "a worker's end has its number" within 60 told_once "A worker of tlshd has ended" 3
pkill -KILL -x tlshd-signer
check "the signer's, too" within 60 told_once "The signer of tlshd has ended" 3
rival_start
check "somebody else who listens" within 40 told_once "Somebody else listens for TLS handshakes" 4
rival_stop
check "and no longer does" within 40 told_once "Nobody else listens for TLS handshakes any longer" 5
echo '[broken' >/etc/tlshd/config
check "settings that cannot be used have theirs" within 60 told_once "Settings of tlshd cannot be used" 3
service_settings
systemctl stop tlshd.service
check "the end has its own" within 60 told_once "tlshd has stopped" 5
