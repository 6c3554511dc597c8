# shellcheck shell=bash
# shows: what keeps the daemon from starting is said in one line with the remedy; without any configuration it starts
# guest: uml
# tried ARG...: runs the daemon for at most 6 s; its output is in $WORK/said, its status in tried_status.
tried() {
    timeout --preserve-status 6 "$(daemon_command)" "$@" >"$WORK/said" 2>&1 </dev/null
    tried_status=$?
    say "      tlshd $*: status $tried_status, $(tail -1 "$WORK/said")"
}
said() { grep -qE -- "$1" "$WORK/said"; }

tried --nonsense
check "wrong usage is status 2" equal $tried_status 2
check "in one line" test "$(wc -l <"$WORK/said")" = 1

tried -c "$WORK/missing"
check "a missing file is status 1" equal $tried_status 1
check "and is named" said "$WORK/missing"

printf '[debug\n' >"$WORK/broken"
tried -c "$WORK/broken"
check "a broken file is status 1" equal $tried_status 1
check "and is named with line and column" said "broken:1:[0-9]+: "

modprobe tls
printf '[overrides]\n' >"$WORK/policy"
for cipher in aes-256-gcm aes-256-ccm chacha20-poly1305 aes-128-gcm aes-128-ccm; do
    echo "tls-disabled-cipher = $cipher" >>"$WORK/policy"
done
GNUTLS_SYSTEM_PRIORITY_FILE=$WORK/policy tried -s
check "a crypto policy that leaves no cipher is status 1" equal $tried_status 1
check "and says so" said 'no handshake can be served: .*(cipher|policy)'

rmmod tls
echo "install tls /bin/false" >/etc/modprobe.d/no-tls.conf
tried -s
rm /etc/modprobe.d/no-tls.conf
check "a kernel without TLS is status 1" equal $tried_status 1
check "and the option is named" said 'CONFIG_TLS'

# The guest's ktls-utils has brought a configuration.
mkdir "$WORK/etc"
mv /etc/tlshd* "$WORK/etc/"
tried -s
mv "$WORK"/etc/* /etc/
check "without any configuration it serves until it is stopped" equal $tried_status 0
check "and says what it uses" said 'ready: built-in defaults'

export SSLKEYLOGFILE=$WORK/keylog
tried -s
check "a file for secrets is not written, and that is said" said 'SSLKEYLOGFILE is ignored'
