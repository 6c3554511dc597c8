# shellcheck shell=bash
# shows: the hardened service's control socket: members of [control] group= may ask, others are told who may; reload and restart
# guest: systemd
socket=/run/tlshd/control
printf '%s\n' 'operators:x:4711:' 'auditors:x:4712:' >>/etc/group
control_of() { equal "$(stat -c '%a %U %G' $socket)" "$1"; }

# asks GROUP STATUS REGEX: nobody as a member of that group asks for the status; its exit status and first line.
asks() {
    ctl_text=$(setpriv --reuid=65534 --regid=65534 --groups="$1" tlshctl status 2>&1)
    if [ $? = "$2" ] && matches "${ctl_text%%$'\n'*}" "$3"; then return 0; fi
    say "      $ctl_text"
    return 1
}
group() { sed -i "s/^group=.*/group=$1/" /etc/tlshd/config; }
# The socket keeps the passing name that it was bound under, with the number of its process.
listens() { grep -q " $socket\.$(service_pid)\$" /proc/net/unix; }

service_install
printf '[control]\ngroup=operators\n' >>/etc/tlshd/config
service_start
check "the socket is the group's" control_of '660 root operators'
check "a member may ask" asks 4711 0 'ok: tlshd .*'
check "a stranger may not, and is told who may" asks 4712 4 'UNKNOWN: .* remedy: run this as root, or as a member of the group operators'

# Reload: the same process, another group.
pid=$(service_pid)
group auditors
check "reload" systemctl reload tlshd.service
check "the socket is the other group's" within 15 control_of '660 root auditors'
check "in the same process" equal "$(service_pid)" "$pid"
check "the new group may ask" asks 4712 0 'ok: tlshd .*'
check "the former may not any more" asks 4711 4 'UNKNOWN: .* member of the group auditors'
group nobody-knows
check "a group that is not there" within 15 log_has 'control socket stays as it was: .*there is no group nobody-knows; remedy: '
check "leaves the former" asks 4712 3 'WARNING: the control socket stays as it was.*'

# Restart: the new process answers, the one that remains does not.
group operators
check "restart" systemctl restart tlshd.service
check "a new process serves" service_new "$pid"
check "and its socket is the one that is asked" within 15 listens
check "it belongs to the group of now" control_of '660 root operators'
check "a member may ask" asks 4711 0 'ok: tlshd .*'
systemctl stop tlshd.service
check "stopped, there is nobody to ask" asks 4711 1 'FAILED: tlshd is not running.*'
