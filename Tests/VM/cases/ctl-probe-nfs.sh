# shellcheck shell=bash
# shows: tlshctl probe tells before a mount of NFS what the mount would meet
# guest: uml
probe() { ctl_says "$1" "$2" probe nfs://server.rig -c "$WORK/tlshd.conf"; }

daemon_config
daemon_start
nfs_export mtls
check "a server that works" probe 0 '^ok: TLS with nfs://server.rig:2049 .* works: x509, TLS_AES'
check "its certificate is shown" grep -q 'certificate 0: CN=server' <<<"$ctl_text"
nfs_works mtls
check "an address is as good as a name" ctl_says 0 '^ok:' probe 'nfs://[::1]' -c "$WORK/tlshd.conf" --mode tls
check "another name" ctl_says 1 "^FAILED: .*another name .wanted other.rig" \
    probe nfs://127.0.0.1 --name other.rig -c "$WORK/tlshd.conf"
check "a client of an unknown authority" ctl_says 1 '^FAILED: .*the server refused our certificate: unknown_ca' \
    probe nfs://server.rig -c "$WORK/tlshd.conf" --certificate "$PKI/client-alien.pem" --key "$PKI/client-alien.key"

setpriv --reuid=65534 --regid=65534 --clear-groups "$RIG_DAEMON/tlshctl" probe nfs://server.rig --mode tls \
    --truststore "$PKI/ca.pem" >"$WORK/nobody" 2>&1
check "nobody may probe, too" grep -q '^ok: TLS with nfs://server.rig' "$WORK/nobody"

daemon_stop
check "a server without daemon" probe 1 '^FAILED: .*the server offers TLS and does not answer.*check if tlshd runs'
daemon_config server=server-old
daemon_start
check "an expired certificate" probe 1 '^FAILED: .*has expired .CN=server-old expired on 2021-01-01'
daemon_stop
daemon_config server=server-gone client_crl=ca.crl
daemon_start
check "a revoked certificate" probe 1 '^FAILED: .*is revoked .CN=server-gone'
check "nobody there" ctl_says 1 '^FAILED: .*ECONNREFUSED' probe nfs://127.0.0.1:3049 -c "$WORK/tlshd.conf"
