# shellcheck shell=bash
# shows: a key that was made in a TPM 2.0 and never leaves it serves NFS with the hardened unit and token.conf
# guest: systemd
# check: no
service_install
# What a package's udev rule does where udev runs.
chown root:tss /dev/tpmrm0 && chmod 660 /dev/tpmrm0
usermod -aG tss tlshd-signer
export TPM2_PKCS11_STORE=/var/lib/tlshd/tpm2 TSS2_LOG=all+NONE
mkdir -p $TPM2_PKCS11_STORE
echo 1234 >"$WORK/pin" && chmod 600 "$WORK/pin"
require "a token is made in the TPM" p11tool --initialize --label tpm --set-so-pin 5678 pkcs11:manufacturer=IBM
require "with a PIN" p11tool --initialize-pin --set-so-pin 5678 --set-pin 1234 pkcs11:token=tpm
require "and a key" p11tool --login --set-pin 1234 --generate-privkey ecdsa --curve secp256r1 --label server \
    --outfile "$WORK/server.pub" pkcs11:token=tpm
printf '%s\n' 'cn = server-tpm' signing_key tls_www_server 'dns_name = server.rig' 'ip_address = 127.0.0.1' \
    'expiration_days = 1000' >"$WORK/template"
require "the authority signs its certificate" certtool --generate-certificate --load-pubkey "$WORK/server.pub" \
    --template "$WORK/template" --load-ca-certificate "$PKI/ca.pem" --load-ca-privkey "$PKI/ca.key" --outfile "$WORK/tpm.pem"
chown -R tlshd-signer $TPM2_PKCS11_STORE
key="pkcs11:token=tpm;object=server;type=private?pin-source=file:$WORK/pin"
sed -i "s|$PKI/server.pem|$WORK/tpm.pem|; s|$PKI/server.key|$key|" /etc/tlshd/config
service_dropin token </usr/share/doc/tlshd/examples/token.conf
service_start
check "the signer opens the key" within 20 log_all_has 'server credentials: .*CN=server-tpm'
nfs_export mtls
nfs_works mtls
check "with the certificate of that key" within 10 log_has 'NFS client: TLS with server.rig .* is up: .*peer CN=server-tpm,'
