# shellcheck shell=bash
# shows: tlshctl status on a terminal has colours and keeps to its width; what it shows is docs/status.svg (make picture)
# guest: systemd
# check: no
columns=116
# on_terminal COMMAND: what it writes on a terminal.
on_terminal() { script --quiet --return --command "stty cols $columns; $1" /dev/null </dev/null | tr -d '\r'; }

service_install
service_settings server_crl=ca.crl
sed -i "s|$PKI/|/etc/tlshd/|" /etc/tlshd/config
cp "$PKI"/{ca.pem,ca.crl,client.key,server.pem,server.key} /etc/tlshd
# A certificate of ours that will not last.
moment() { date -u -d "$1 days" +%Y%m%d%H%M%SZ; }
printf '%s\n' subjectAltName=DNS:client.rig,IP:127.0.0.1 extendedKeyUsage=clientAuth >"$WORK/extensions"
openssl req -new -key "$PKI/client.key" -subj /CN=client.rig -out "$WORK/request"
openssl x509 -req -in "$WORK/request" -CA "$PKI/ca.pem" -CAkey "$PKI/ca.key" -not_before "$(moment -78)" -not_after "$(moment 12)" -extfile "$WORK/extensions" \
    -out /etc/tlshd/client.pem 2>"$WORK/openssl"
service_start
nfs_export mtls
for _ in 1 2; do nfs_works mtls; done
nfs_refused mtls EACCES 127.0.0.2
last_is_told() { tlshctl status | grep -q '^WARNING: NFS client: TLS with 127.0.0.2'; }
require "the refusal is told" within 10 last_is_told

on_terminal "tlshctl status" >"$RIG_RESULT/status.ansi"
plain=$(sed 's/\x1b\[[0-9;]*m//g' "$RIG_RESULT/status.ansi")
check "in colour" grep -q $'^\x1b\\[33mWARNING: NFS client: TLS with 127.0.0.2' "$RIG_RESULT/status.ansi"
check "the certificate that ends is told, too" grep -q '^also: client: certificate CN=client.rig .* expires in 1[12] days; remedy: renew it' <<<"$plain"
check "and stands in the table" grep -qE 'default +client +in force +1[12] +CN=client.rig by CN=rig ca' <<<"$plain"
check "no row of a table is longer than the terminal is wide" equal 0 "$(tail -n +4 <<<"${plain//…/.}" | awk -v most=$columns 'length > most' | wc -l)"
on_terminal "NO_COLOR=1 tlshctl status" >"$WORK/plain"
check "without colour where none is wanted" grep -q '^WARNING: NFS client' "$WORK/plain"
