# shellcheck shell=bash
# shows: AF_TLSH: a server, our extension, for OpenSSL clients with and without certificate; strangers are refused, and all but the client that the kernel names
# guest: qemu
# module: tlsh
tlsh_load
daemon_start
tls_mark
for certificate in client ""; do
    tlsh_start server listen 127.0.0.1 4433 type=3
    tlsh_peer openssl connect 4433 ${certificate:+--certificate "$certificate"}
    tlsh_end
    check "the server's end carried the bytes (client's certificate: ${certificate:-none})" \
        tlsh_carried "$(cat "$WORK/server")"
    check "OpenSSL got them back as they were" tlsh_peer_said openssl 'equal 100000'
done
check "kTLS carried them" tls_rose 2
check "the log names the client" within 10 log_has 'AF_TLSH server: TLS with 127.0.0.1:[0-9]+ is up: x509, .*peer CN=client,'
check "and says when there is none" within 10 log_has 'AF_TLSH server: TLS with 127.0.0.1:[0-9]+ is up: x509, .*peer without certificate,'
tlsh_start server listen 127.0.0.1 4433 type=3
tlsh_peer openssl connect 4433 --certificate client-alien
tlsh_end
check "a stranger is refused" tlsh_refused "$(cat "$WORK/server")"
for certificate in client server ""; do
    log_mark
    tlsh_start server listen 127.0.0.1 4433 type=3 peername=client.rig
    tlsh_peer openssl connect 4433 ${certificate:+--certificate "$certificate"}
    tlsh_end
    case $certificate in
    client) check "the client that the kernel names is let in" tlsh_carried "$(cat "$WORK/server")" ;;
    *) check "another (certificate: ${certificate:-none}) is refused" tlsh_refused "$(cat "$WORK/server")" ;;
    esac
done
check "the log says why" within 10 log_has 'AF_TLSH server: TLS with client.rig .* failed: the peer presented no certificate'
daemon_stop
check "the daemon ends" equal "$daemon_status" 0
tlsh_unload
