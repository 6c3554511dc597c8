# shellcheck shell=bash
# shows: AF_TLSH: a large certificate through a small send buffer, though the family never says that there is room
# guest: qemu
# module: tlsh
names=$(for number in $(seq 900); do printf 'DNS:host%04d.rig.example,' "$number"; done)
printf '%s\n' "subjectAltName=${names}DNS:localhost" "extendedKeyUsage=serverAuth" >"$WORK/extensions"
openssl req -new -key "$PKI/server.key" -subj /CN=large -out "$WORK/large.csr"
openssl x509 -req -in "$WORK/large.csr" -CA "$PKI/ca.pem" -CAkey "$PKI/ca.key" -days 10 -extfile "$WORK/extensions" \
    -out "$PKI/large.pem"
cp "$PKI/server.key" "$PKI/large.key"
require "there is a certificate of 16 kB and more" test "$(openssl x509 -in "$PKI/large.pem" -outform DER | wc -c)" -ge 16000
daemon_config server=large
tlsh_load
daemon_start
tls_mark
tlsh_start server listen 127.0.0.1 4433 type=3 sndbuf=4608 bytes=8000 timeout=20000
tlsh_peer openssl connect 4433 --slowly --bytes 8000
tlsh_end
result=$(cat "$WORK/server")
check "the handshake completes and the bytes get through" tlsh_carried "$result" 8000
check "OpenSSL got them back" tlsh_peer_said openssl 'equal 8000'
blocked=${result##*blocked=}
check "writes did find no room" test "${blocked%% *}" -ge 2
check "kTLS carried them" tls_rose 1
daemon_stop
tlsh_unload
