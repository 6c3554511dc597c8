# shellcheck shell=bash
# shows: AF_TLSH: certificate and key by serial, on kernels with and without the options 5 and 6; serials that are missing
# guest: qemu
# module: tlsh
openssl x509 -in "$PKI/client.pem" -outform DER >"$WORK/certificate"
openssl pkey -in "$PKI/client.key" -outform DER >"$WORK/key"
certificate=$(tlsh_key rig-certificate "$WORK/certificate")
key=$(tlsh_key rig-key "$WORK/key")
# The configured certificate would be refused.
daemon_config client=client-alien
tlsh_load
daemon_start
try() { # WORD...
    tlsh_peer_serves openssl 4433 --certificate server --demand
    tlsh_ask connect 127.0.0.1 4433 type=0 "$@"
    tlsh_end
}
check "key by option 5" tlsh_carried "$(try "cert=$certificate" "key=$key" peername=localhost | tail -1)"
check "key by option 2" tlsh_carried "$(try "cert=$certificate" "peerid=$key" | tail -1)"
echo 4 >/sys/module/tlsh/parameters/options
check "the same on a kernel with the options 1 to 4 alone" tlsh_carried \
    "$(try "cert=$certificate" "peerid=$key" peername=localhost | tail -1)"
check "where no name comes through" within 10 log_has 'AF_TLSH client: TLS with 127.0.0.1:4433 is up: x509, .*no name was given to verify'
check "a certificate without key is refused" tlsh_refused "$(try "cert=$certificate" | tail -1)"
check "the log says why" within 10 log_has \
    'AF_TLSH client: TLS with 127.0.0.1:4433 failed: our private key cannot be used \(the request names a certificate but no private key\)'
check "a serial of no certificate is refused" tlsh_refused "$(try cert=1234567 "peerid=$key" | tail -1)"
check "the log says that too" within 10 log_has 'AF_TLSH client: TLS with 127.0.0.1:4433 failed: our certificate cannot be used '
daemon_stop
tlsh_unload
