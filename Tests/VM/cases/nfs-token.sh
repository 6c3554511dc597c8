# shellcheck shell=bash
# shows: NFS over mutual TLS with the keys and certificates of both ends on a SoftHSM2 token; a wrong PIN, and the right one again
# guest: qemu
# check: no
token_own
token_settings
daemon_start
check "the signer opened the server's key" within 10 log_all_has 'server credentials: .*CN=server of pkcs11:'
check "and the client's" within 10 log_all_has 'client credentials: .*CN=client of pkcs11:'
nfs_export mtls
nfs_works mtls server.rig vers=4.1
nfs_works mtls server6.rig
check "each client's line says so" within 10 log_reached 2 'NFS client: TLS with server6?.rig .* is up: x509, .*peer CN=server,'
check "each server's as well" within 10 log_reached 2 'NFS server: TLS with .* is up: x509, .*peer CN=client,'

# The signer logs in anew when it has to be replaced.
kill -KILL "$(pgrep -x tlshd-signer)"
nfs_works mtls

# A wrong PIN shows at the next login, and is tried once.
log_mark
echo 9999 >"$WORK/pin"
check "the PIN's file is noticed" within 10 log_has 'server credentials: '
check "for both roles" within 10 log_has 'client credentials: '
kill -KILL "$(pgrep -x tlshd-signer)"
check "a wrong PIN is said, with the remedy" within 10 log_has \
    'server credentials: private key .*the token refuses the PIN; .*pin-source.*its handshakes fail until that is fixed'
nfs_refused mtls '.*'
log_mark
echo 1234 >"$WORK/pin"
check "tlshd notices the right one" within 10 log_has 'server credentials: .*CN=server of pkcs11:'
nfs_works mtls
