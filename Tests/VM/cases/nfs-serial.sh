# shellcheck shell=bash
# shows: mutual TLS with the certificate and key that the mount names by their serial numbers in the keyring .nfs
# guest: qemu-7.2
modprobe nfs
ring=$(awk '$8 == "keyring" && $9 == ".nfs:" { print "0x" $1; exit }' /proc/keys)
require "the kernel has a keyring .nfs" test -n "$ring"
keyctl link "$ring" @s
certificate=$(openssl x509 -in "$PKI/client.pem" -outform DER | keyctl padd user rig-certificate "$ring")
key=$(openssl pkey -in "$PKI/client.key" -outform DER | keyctl padd user rig-key "$ring")
require "both are in it" test -n "$certificate" -a -n "$key"
# The configured certificate would be refused.
daemon_config client=client-alien
daemon_start
nfs_export mtls
nfs_works mtls server.rig "cert_serial=$certificate,privkey_serial=$key"
nfs_refused mtls EACCES
keyctl unlink "$certificate" "$ring"
keyctl unlink "$key" "$ring"
