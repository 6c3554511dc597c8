# shellcheck shell=bash
# shows: tlshctl probe says in its first line what else keeps a mount from working: our own files, the server's, plain text, a rival in tlshd's place
# guest: uml
probe() { ctl_says "$1" "$2" probe nfs://server.rig -c "$WORK/tlshd.conf" "${@:3}"; }
own='^FAILED: .*: the credentials of profile default cannot be used:'

daemon_config
daemon_start
nfs_export mtls
sed "s|$PKI/client.key|$PKI/server.key|" "$WORK/tlshd.conf" >"$WORK/own.conf"
check "the key of another" ctl_says 1 "$own no certificate in .*client.pem belongs to the private key" \
    probe nfs://server.rig -c "$WORK/own.conf"
check "a missing revocation list" probe 1 '^FAILED: .*open .*none.crl: No such file.*remedy: give a file that can be read' --crl "$PKI/none.crl"
chmod 711 "$WORK"
cp "$PKI/client.key" "$WORK/own.key"
chmod 600 "$WORK/own.key"
setpriv --reuid=65534 --regid=65534 --clear-groups "$RIG_DAEMON/tlshctl" probe nfs://server.rig --mode mtls \
    --truststore "$PKI/ca.pem" --certificate "$PKI/client.pem" --key "$WORK/own.key" >"$WORK/nobody" 2>&1
check "an unreadable key" matches "$(head -n 1 "$WORK/nobody")" "FAILED: .*$WORK/own.key.*Permission denied.*"

daemon_stop
sed -i "s|$PKI/server.key|$PKI/client.key|" "$WORK/tlshd.conf"
daemon_start
check "the server's key is another's" probe 1 '^FAILED: .*the peer refused the handshake .*access_denied'

fake_listen 3049 plain --rpc
check "a server that promises TLS and speaks plain text" ctl_says 1 '^FAILED: .*the peer speaks plain text' \
    probe nfs://127.0.0.1:3049 -c "$WORK/tlshd.conf"
fake_stop

daemon_stop
rival_start
check "a rival in the place of the server's tlshd" probe 1 '^FAILED: .*the server offers TLS and does not answer'
rival_stop
