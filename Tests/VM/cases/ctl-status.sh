# shellcheck shell=bash
# shows: tlshctl status is healthy after a mount, names a mount that failed in its first line, and says when nothing runs
# guest: uml
status_says() { ctl_says "$1" "$2" status; }

check "no daemon" status_says 1 '^FAILED: tlshd is not running'
daemon_start
nfs_export mtls
nfs_works mtls server.rig vers=4.2
check "all is well" status_says 0 '^ok: tlshd [0-9.]* serves handshakes; [1-9]'
check "both ends are counted" matches "$(grep -c '^NFS \(client\|server\) *success' <<<"$ctl_text")" 2
check "the certificates are shown" grep -q 'default *client *in force .*client' <<<"$ctl_text"
check "so are the handshakes" ctl_says 0 'TIME' handshakes 5
check "one line each" grep -q 'NFS client .*server.rig.*success' <<<"$ctl_text"
check "metrics" ctl_says 0 '^# TYPE tlshd_build info' metrics
check "with the handshakes" grep -q 'tlshd_handshakes_total{consumer="NFS server",result="success"' <<<"$ctl_text"
check "others may not ask" equal 4 "$(setpriv --reuid=65534 --regid=65534 --clear-groups "$RIG_DAEMON/tlshctl" status >/dev/null 2>&1; echo $?)"

daemon_stop
daemon_config client=client-alien
daemon_start
nfs_client_refused
check "degraded" status_says 3 '^WARNING: NFS client: TLS with .* failed: '
check "and it is among the last failures" grep -q 'LAST FAILURES' <<<"$ctl_text"

daemon_stop
printf '%s\n' "[authenticate.client]" "x509.truststore=$PKI/ca.pem" >"$WORK/tlshd.conf"
daemon_start
check "a host that is a client alone is well" within 5 status_says 0 '^ok: tlshd'
check "and its server is none" grep -q 'default *server *not served *none, as no certificate is set' <<<"$ctl_text"
echo "x509.crl=" >>"$WORK/tlshd.conf"
check "settings that are broken now" within 5 status_says 3 '^WARNING: the settings from .* stay in force: .*tlshd.conf:3:10'
sed -i '$d' "$WORK/tlshd.conf"
check "and mended" within 5 status_says 0 '^ok: tlshd'
printf '%s\n' "[control]" "socket=/run/tlshd/other" >>"$WORK/tlshd.conf"
check "a socket elsewhere" within 5 status_says 4 '^UNKNOWN: tlshd \(process [0-9]*\) runs, but there is no /run/tlshd/control'
check "is found when it is named" ctl_says 0 '^ok: tlshd' status --socket /run/tlshd/other
daemon_stop
check "stopped" status_says 1 '^FAILED: tlshd is not running'
