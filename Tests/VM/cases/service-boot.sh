# shellcheck shell=bash
# shows: after a boot with the package installed, the AppArmor profiles are loaded before the service starts, which runs under them
# guest: installed
# check: no
each_enforced() { # LABEL PROGRAM
    local pid found=0
    for pid in $(pgrep -x "$2"); do
        found=1
        [ "$(cat "/proc/$pid/attr/apparmor/current" 2>/dev/null)" = "$1 (enforce)" ] || return 1
    done
    [ $found = 1 ]
}
ctl_shows_labels() {
    local process
    ctl status
    for process in 'broker: .*label tlshd' 'workers: .*label tlshd//&tlshd-worker' 'signer: .*label tlshd//&tlshd-signer'; do
        grep -qE "sandbox +$process" <<<"$ctl_text" || return 1
    done
}
moment() { systemctl show --property "$2" --value "$1"; }

cat /out/dpkg
require "the package was installed before the boot" test -x /usr/libexec/tlshd/tlshd-worker
service_follow
require "the service has started at boot" within 60 service_active
check "by no one's command" test "$(service_property NRestarts)" = 0
profiles=$(moment apparmor.service ActiveEnterTimestampMonotonic)
started=$(moment tlshd.service ExecMainStartTimestampMonotonic)
say "      profiles loaded at $profiles us, tlshd started at $started us"
check "the profiles are loaded before it starts" test "$profiles" -gt 0 -a "$profiles" -le "$started"
for profile in tlshd tlshd-worker tlshd-signer; do
    check "$profile is loaded and enforced" grep -q "^$profile (enforce)" /sys/kernel/security/apparmor/profiles
done
check "the broker is confined" each_enforced tlshd tlshd
check "the workers, too" each_enforced 'tlshd//&tlshd-worker' tlshd-worker

# A key, so that there is a signer. What ktls-utils leaves behind is read instead of our settings.
rm -f /etc/tlshd.conf
service_settings
check "reload" systemctl reload tlshd.service
check "a signer has started" within 15 pgrep -x tlshd-signer
check "it is confined" within 15 each_enforced 'tlshd//&tlshd-signer' tlshd-signer
check "status shows the profile of each process" within 15 ctl_shows_labels
nfs_export mtls
nfs_works mtls
check "nothing that the service did was denied" not grep -q 'apparmor="DENIED".*profile="tlshd' <(dmesg)
