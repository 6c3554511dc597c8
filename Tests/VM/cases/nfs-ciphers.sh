# shellcheck shell=bash
# shows: each cipher that kTLS can carry, chosen by the system's crypto policy, carries NFS over mutual TLS
# guest: uml qemu-7.2
# check: uml
# The policy of the guest forbids all ciphers but one; the daemon has no setting of its own for them.
only() {
    local cipher
    echo "[overrides]"
    for cipher in aes-256-gcm aes-256-ccm chacha20-poly1305 aes-128-gcm aes-128-ccm; do
        [ "$cipher" = "$1" ] || echo "tls-disabled-cipher = $cipher"
    done
}

nfs_export mtls
while read -r cipher suite; do
    only "$cipher" >"$WORK/policy"
    export GNUTLS_SYSTEM_PRIORITY_FILE=$WORK/policy
    daemon_start
    nfs_works mtls
    check "with $suite, in the client's line" within 10 log_has "NFS client: TLS with server.rig .* is up: x509, $suite, "
    check "and in the server's" within 10 log_has "NFS server: TLS with 127.0.0.1:[0-9]+ is up: x509, $suite, "
    daemon_stop
done <<SUITES
aes-256-gcm TLS_AES_256_GCM_SHA384
chacha20-poly1305 TLS_CHACHA20_POLY1305_SHA256
aes-128-gcm TLS_AES_128_GCM_SHA256
aes-128-ccm TLS_AES_128_CCM_SHA256
SUITES
