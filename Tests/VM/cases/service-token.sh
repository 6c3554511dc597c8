# shellcheck shell=bash
# shows: keys on a SoftHSM2 token with the hardened unit: what is missing is said with the remedy, token.conf and a group mend it
# guest: systemd
# check: no
service_install
token_fill
chmod -R g+rwX /var/lib/softhsm/tokens
token_settings
cp "$WORK/tlshd.conf" /etc/tlshd/config

service_start
check "without rights: the reason and the remedy" within 10 log_all_has 'server credentials: .*no token that is there holds it.*token.conf'
nfs_export mtls
nfs_refused mtls '.*'

usermod -aG softhsm tlshd-signer
service_start
check "the group alone does not do: to the unit the token's files are read-only" within 10 log_all_has 'Could not open the file \(Read-only file system\): /var/lib/softhsm'
nfs_refused mtls '.*'

service_dropin token </usr/share/doc/tlshd/examples/token.conf
service_start
check "with the drop-in file, too, it opens the server's key" within 10 log_all_has 'server credentials: .*CN=server of pkcs11:'
nfs_works mtls
check "the signer runs as its own user" equal "$(stat -c %U "/proc/$(pgrep -x tlshd-signer)")" tlshd-signer
check "without a capability" grep -q '^CapEff:.0000000000000000$' "/proc/$(pgrep -x tlshd-signer)/status"
check "and keeps what is left of its sandbox" grep -q '^Seccomp:.2$' "/proc/$(pgrep -x tlshd-signer)/status"
ctl check --only credentials
check "tlshctl check says what tokens take" grep -q 'on a token.*only tlshd.s signer.*token.conf' <<<"$ctl_text"
gpasswd -d tlshd-signer softhsm >/dev/null
