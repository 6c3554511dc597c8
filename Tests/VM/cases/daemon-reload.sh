# shellcheck shell=bash
# shows: changed certificates and settings are noticed without a signal; broken ones leave the former state in force; SIGHUP
# guest: uml
replace() { cp "$PKI/$1.pem" "$WORK/new.pem" && cp "$PKI/$1.key" "$WORK/new.key" && mv "$WORK/new.pem" "$WORK/server.pem" &&
    mv "$WORK/new.key" "$WORK/server.key"; }
same_daemon() { [ "$daemon_pid" = "$first_pid" ] && daemon_alive; }

replace server-old
daemon_config
sed -i "s|$PKI/server\.|$WORK/server.|" "$WORK/tlshd.conf"
cp "$WORK/tlshd.conf" "$WORK/good.conf"
daemon_start
first_pid=$daemon_pid
nfs_export tls:mtls
nfs_refused tls EACCES

log_mark
replace server
check "the renewed certificate is in force without a signal" within 15 log_has 'server credentials: trusts.*CN=server of.*2099'
nfs_works tls

log_mark
cp "$PKI/client.pem" "$WORK/server.pem"
check "a certificate without its key leaves the former pair in force, and says so" \
    within 15 log_has 'server credentials: .*the former ones stay in force'
nfs_works mtls

log_mark
echo "this is no line of settings" >"$WORK/tlshd.conf"
check "broken settings stay out, with file and line" within 15 log_has 'stay in force: .*tlshd.conf:1:1'
nfs_works mtls

log_mark
cp "$WORK/good.conf" "$WORK/tlshd.conf"
sed -i "s|^loglevel=.*|loglevel=1|" "$WORK/tlshd.conf"
cp "$PKI/server.pem" "$WORK/server.pem"
check "mended settings are used" within 15 log_has 'settings are from'
kill -HUP "$daemon_pid"
check "SIGHUP reads everything again" within 15 log_has 'reloading settings, credentials and keyrings'
nfs_works mtls
check "each step is told at level 1" within 10 log_has 'received CLIENT HELLO, [0-9]+ bytes'
check "it is the same daemon" same_daemon
