# shellcheck shell=bash
# shows: who else listens for handshakes is named when it comes and when it goes, in each namespace
# guest: uml
# check: no
printf '%s\n' "[namespaces]" "named=yes" >"$WORK/tlshd.conf"
daemon_start
check "alone, it sees nobody" not within 1 log_has 'listens for TLS'

rival_start
check "it is named" within 30 log_has "python3 \(process $rival(, to go by its socket.s number)?\) listens for TLS handshakes, too"
check "once" not within 11 log_reached 2 'listens for TLS handshakes, too'
rival_stop
check "and when it goes" within 30 log_has "python3 \(process $rival(, to go by its socket.s number)?\) does not listen for TLS handshakes any longer"

log_mark
ns_make 1
require "a namespace is served" within 10 log_has 'namespace t1 is served'
ns_run 1 python3 - <"$RIG_VM/fake/rival.py" >"$WORK/joined" &
check "one in another namespace is named with it" within 30 log_has \
    'python3 \(process [0-9]+(, to go by its socket.s number)?\) listens for TLS handshakes in namespace t1, too'
check "and only there" not log_has 'listens for TLS handshakes, too'
