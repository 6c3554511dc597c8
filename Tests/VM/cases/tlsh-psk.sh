# shellcheck shell=bash
# shows: AF_TLSH: PSK as client and as server (our extension) against OpenSSL; a missing serial, a key that differs
# guest: qemu
# module: tlsh
tlsh_psk rig-identity
hex=$(od -An -v -tx1 "$WORK/psk" | tr -d ' \n')
tlsh_load
daemon_start
tls_mark

tlsh_peer_serves openssl 4433 --psk rig-identity "$hex"
check "client: the bytes come back as they were" tlsh_carried \
    "$(tlsh_ask connect 127.0.0.1 4433 type=1 "peerid=$psk_serial")"
check "the log names the identity" within 10 log_has 'AF_TLSH client: TLS with 127.0.0.1:4433 is up: PSK, .*identity "rig-identity"'
tlsh_end

tlsh_start server listen 127.0.0.1 4434 type=4
tlsh_peer openssl connect 4434 --psk rig-identity "$hex"
tlsh_end
check "server: its end carried the bytes" tlsh_carried "$(cat "$WORK/server")"
check "OpenSSL got them back" tlsh_peer_said openssl 'equal 100000'
check "kTLS carried both" tls_rose 2

tlsh_peer_serves openssl 4435 --psk rig-identity "$hex"
check "a client without serial is refused" tlsh_refused "$(tlsh_ask connect 127.0.0.1 4435 type=1)"
check "the log says why" within 10 log_has \
    'AF_TLSH client: TLS with 127.0.0.1:4435 failed: the PSK cannot be read \(the request names no PSK\)'
tlsh_end
tlsh_peer_serves openssl 4436 --psk rig-identity "$hex"
check "a serial of no key is refused" tlsh_refused "$(tlsh_ask connect 127.0.0.1 4436 type=1 peerid=1234567)"
check "the log says that too" within 10 log_has \
    'AF_TLSH client: TLS with 127.0.0.1:4436 failed: the PSK has expired or was revoked \(.*ENOKEY'
tlsh_end
tlsh_start server listen 127.0.0.1 4437 type=4
tlsh_peer openssl connect 4437 --psk rig-identity "$(openssl rand -hex 32)"
tlsh_end
check "another key under the same identity is refused" tlsh_refused "$(cat "$WORK/server")"
check "as what it is" within 10 log_has 'AF_TLSH server: TLS with 127.0.0.1:[0-9]+ failed: the peer holds another PSK under the same identity.*sent alert decrypt_error'
daemon_stop
tlsh_unload
