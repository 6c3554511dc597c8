# shellcheck shell=bash
# shows: AF_TLSH: a client without certificate against OpenSSL; one that must have a certificate refuses it
# guest: qemu
# module: tlsh
tlsh_load
daemon_start
tls_mark
tlsh_peer_serves openssl 4433 --certificate server
result=$(tlsh_ask connect 127.0.0.1 4433 type=2 peername=localhost)
check "the bytes come back as they were" tlsh_carried "$result"
check "OpenSSL saw no certificate" tlsh_peer_said openssl 'suite TLS_.* certificate (None|no)'
check "kTLS carried them" tls_rose 1
check "the log says so" within 10 log_has 'AF_TLSH client: TLS with localhost .* is up: anonymous client, '
tlsh_end
tlsh_peer_serves openssl 4433 --certificate server-gone
check "without a name and a revocation list a good chain suffices" tlsh_carried \
    "$(tlsh_ask connect 127.0.0.1 4433 type=2)"
check "the log says that no name was verified" within 10 log_has 'AF_TLSH client: TLS with 127.0.0.1:4433 is up: anonymous client, .*no name was given to verify'
tlsh_end
daemon_stop
daemon_config client_crl=ca.crl
printf '%s\n' "[listener]" "family=18" >>"$WORK/tlshd.conf"
daemon_start
tlsh_peer_serves openssl 4433 --certificate server-gone
check "with a revocation list it does not" tlsh_refused "$(tlsh_ask connect 127.0.0.1 4433 type=2)"
check "for what it is" within 10 log_has "AF_TLSH client: TLS with 127.0.0.1:4433 failed: the peer's certificate is revoked "
tlsh_end
check "type 9 is refused" tlsh_refused "$(
    tlsh_peer_serves openssl 4433 --certificate server >&2
    tlsh_ask connect 127.0.0.1 4433 type=9
)"
check "and the log names it" within 10 log_has \
    'request for 127.0.0.1:4433 refused: the kernel asked for a kind of handshake that is not supported \(handshake type 9\)'
daemon_stop
tlsh_unload
