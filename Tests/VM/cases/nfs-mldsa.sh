# shellcheck shell=bash
# shows: a second certificate with an ML-DSA key on a GnuTLS that was built without: said, and the first serves; alone it is refused clearly
# guest: qemu-sid
# check: no
openssl genpkey -algorithm ML-DSA-65 -out "$WORK/mldsa.key" && chmod 600 "$WORK/mldsa.key"
require "an ML-DSA certificate is made" openssl req -x509 -new -key "$WORK/mldsa.key" -CA "$PKI/ca.pem" -CAkey "$PKI/ca.key" \
    -subj /CN=server-mldsa -addext subjectAltName=DNS:server.rig -addext extendedKeyUsage=serverAuth -days 100 -out "$WORK/mldsa.pem"
daemon_config
printf '%s\n' "x509.pq.certificate=$WORK/mldsa.pem" "x509.pq.private_key=$WORK/mldsa.key" >>"$WORK/tlshd.conf"
daemon_start
check "what cannot be used is said" within 10 log_all_has 'server credentials: WARNING: the post-quantum certificate is not used.*without ML-DSA'
nfs_export mtls
nfs_works mtls
check "with the other certificate" within 10 log_has 'NFS client: TLS with server.rig .* is up: .*peer CN=server,'
daemon_stop

daemon_config
sed -i "s|$PKI/server.pem|$WORK/mldsa.pem|; s|$PKI/server.key|$WORK/mldsa.key|" "$WORK/tlshd.conf"
daemon_start
check "as the only key it is refused, with the reason and the remedy" \
    within 10 log_all_has 'server credentials: private key .*mldsa.key cannot be used: .*has no signatures for this type of key; use an ECDSA'
nfs_refused mtls '.*'
ctl check -c "$WORK/tlshd.conf" --only credentials
check "tlshctl check says so, too" grep -q 'mldsa.key' <<<"$ctl_text"
