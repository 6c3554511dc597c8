# shellcheck shell=bash
# shows: under its AppArmor profiles the service serves and nothing of it is denied; what is foreign to each process is
# guest: systemd
enforced() { [ "$(cat "/proc/$1/attr/apparmor/current" 2>/dev/null)" = "$2 (enforce)" ]; }
each_enforced() { # LABEL PROGRAM
    local pid found=0
    for pid in $(pgrep -x "$2"); do
        found=1
        enforced "$pid" "$1" || return 1
    done
    [ $found = 1 ]
}
# Cases before this one may have run in the same boot.
denials() { dmesg | sed "1,/rig: start of $RIG_CASE\$/d" | grep 'apparmor="DENIED"' | grep 'profile="tlshd'; }
# escapes PROFILE: what code in that process could do.
escapes() { python3 "$RIG_VM/fake/confined.py" "$1" | tee -a "$WORK/attempts" | grep -v '^refused '; }

service_install
require "the kernel has AppArmor" aa-enabled -q
check "the package has loaded the profiles" grep -q '^tlshd-worker (enforce)' /sys/kernel/security/apparmor/profiles
service_start
check "the broker is confined" enforced "$(service_pid)" tlshd
check "the workers, too, twice" each_enforced 'tlshd//&tlshd-worker' tlshd-worker
check "the signer, too" each_enforced 'tlshd//&tlshd-signer' tlshd-signer
nfs_export mtls
nfs_works mtls
check "status is read" ctl status
check "it shows what holds" grep -qE 'sandbox +workers: .*label tlshd//&tlshd-worker \(enforce\).*seccomp' <<<"$ctl_text"
check "nothing is missing" not grep -qE '^missing ' <<<"$ctl_text"
check "reload" systemctl reload tlshd.service
check "reads everything again" within 15 log_has 'reloading settings, credentials and keyrings'
kill -KILL "$(pgrep -n -x tlshd-worker)"
check "a worker that died is replaced" within 15 log_has 'worker [0-9]+ .*was killed by signal 9'
nfs_works mtls

# A restart, at which one process serves for the other, and a namespace.
printf '[namespaces]\nnamed=yes\ndefault_profile=yes\n' >>/etc/tlshd/config
service_dropin namespaces </usr/share/doc/tlshd/examples/namespaces.conf
service_dropin chroot </usr/share/doc/tlshd/examples/chroot.conf
service_start
ip netns add blue
check "a namespace is served" within 10 log_has 'namespace blue is served'
ip netns delete blue
nfs_works mtls
check "tlshd -t checks the settings" matches "$(/usr/sbin/tlshd -t 2>&1 | head -n 1)" 'ok: no problems found; .*'
check "the broker is confined after a restart" enforced "$(service_pid)" tlshd
check "with chroot.conf no file is below the root directory of a worker" \
    equal "$(readlink "/proc/$(pgrep -n -x tlshd-worker)/root")" "/proc/$(pgrep -n -x tlshd-worker)/fdinfo"
denials >"$WORK/denials"
check "nothing that the service did was denied" not test -s "$WORK/denials"
cat "$WORK/denials"

# In the place of each.
cp /usr/lib/x86_64-linux-gnu/libz.so.1 /var/tmp/rig-library.so
for profile in tlshd tlshd-worker tlshd-signer; do
    check "code in $profile can do nothing else" equal "$(escapes $profile)" ""
done
cat "$WORK/attempts"
check "all was tried" equal "$(wc -l <"$WORK/attempts")" 31

# A profile that is missing is no way out of it.
printf tlshd-worker >/sys/kernel/security/apparmor/.remove
kill -KILL "$(pgrep -n -x tlshd-worker)"
check "without its profile no worker starts" within 15 log_has 'a worker cannot be started'
require "the profiles are loaded anew" apparmor_parser -r /etc/apparmor.d/tlshd
service_dropin namespaces <<<""
service_start
check "and workers are confined" each_enforced 'tlshd//&tlshd-worker' tlshd-worker
