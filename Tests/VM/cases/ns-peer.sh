# shellcheck shell=bash
# shows: the distribution's ktls-utils serves one namespace, ours another: NFS over mutual TLS in both directions
# guest: qemu
# check: no
ns_make 1
ns_make 2
ns_pki 1
ns_pki 2
pki=$WORK/pki
cat "$pki/ca-1.pem" "$pki/ca-2.pem" >"$pki/both.pem"
config() { # N
    printf '%s\n' "[authenticate.client]" "x509.truststore=$pki/both.pem" "x509.certificate=$pki/client-$1.pem" \
        "x509.private_key=$pki/client-$1.key" "[authenticate.server]" "x509.truststore=$pki/both.pem" \
        "x509.certificate=$pki/server-$1.pem" "x509.private_key=$pki/server-$1.key"
}
{
    printf '%s\n' "[namespaces]" "initial=no" "names=t1" "default_profile=yes"
    config 1
} >"$WORK/tlshd.conf"
{
    printf '%s\n' "[debug]" "loglevel=1"
    config 2
} >"$WORK/peer.conf"
daemon_start
check "only the listed namespace is served" not log_has 'namespace t2'
ns_peer 2 "$WORK/peer.conf"
ns_serve 1 mtls
ns_serve 2 mtls
check "our client mounts their server" ns_mount 1 2
check "reading and writing" ns_same 1 2
check "their client mounts our server" ns_mount 2 1
check "reading and writing there" ns_same 2 1
check "our client's line" within 10 log_has 'NFS client in namespace t1: TLS with 10.9.0.2 .* is up'
check "our server's line" within 10 log_has 'NFS server in namespace t1: TLS with 10.9.0.2:.* is up'
check "their daemon tells of two handshakes" test "$(grep -ciE 'handshake with .* (was successful|succe)' "$WORK/peer.log")" -ge 2
tail -20 "$WORK/peer.log"
ns_unmount 1 2
ns_unmount 2 1
