# shellcheck shell=bash
# shows: AF_TLSH: a client presents its certificate to OpenSSL, which demands one; bytes go both ways over kTLS
# guest: qemu
# module: tlsh
tlsh_load
daemon_start
tls_mark
tlsh_peer_serves openssl 4433 --certificate server --demand
result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig)
check "the name is verified and the bytes come back as they were" tlsh_carried "$result"
check "OpenSSL has seen the client's certificate" tlsh_peer_said openssl 'suite TLS_.* certificate yes'
check "kTLS carried them" tls_rose 1
check "the log says so" within 10 log_has 'AF_TLSH client: TLS with server.rig .* is up: x509, '
tlsh_end
tlsh_peer_serves openssl 4433 --certificate server --demand
result=$(tlsh_ask connect 127.0.0.1 4433 type=0)
check "without a name the chain decides" tlsh_carried "$result"
check "and the log says that" within 10 log_has 'AF_TLSH client: TLS with 127.0.0.1:4433 is up: x509, .*no name was given to verify'
tlsh_end
tlsh_peer_serves openssl 4433 --certificate server-alien
check "a stranger is refused without a name too" tlsh_refused "$(tlsh_ask connect 127.0.0.1 4433 type=0)"
check "for what it is" within 10 log_has "AF_TLSH client: TLS with 127.0.0.1:4433 failed: the peer's certificate is from an unknown authority "
tlsh_end
tlsh_peer_serves openssl 4433 --certificate server-other
result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig)
check "another name is refused where one is wanted" tlsh_refused "$result"
check "for what it is too" within 10 log_has "AF_TLSH client: TLS with server.rig .* failed: the peer's certificate is for another name "
tlsh_end
check "no record failed to decrypt" tls_no_errors
daemon_stop
check "the daemon ends" equal "$daemon_status" 0
tlsh_unload
