# shellcheck shell=bash
# shows: the Debian package takes the place of ktls-utils: settings, enabling and running state are kept; upgrade, removal, purge
# guest: systemd
# runs_as PROGRAM USER: whether the newest process of it does; it is root's until it has started.
runs_as() { [ "$(stat -c %U "/proc/$(pgrep -n -x "$1")" 2>/dev/null)" = "$2" ]; }
status_of() { dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null; }

require "ktls-utils is installed" equal "$(status_of ktls-utils)" installed
# An administrator's settings, where that package has them.
daemon_config
cp "$WORK/tlshd.conf" /etc/tlshd.conf
systemctl enable tlshd.service 2>/dev/null
systemctl start tlshd.service
check "its daemon runs" service_active
before=$(service_pid)
service_follow

# As dpkg --install does, in two steps to see what is between them.
require "our package is unpacked over it" service_dpkg --unpack "$RIG_DEB"
check "the old daemon serves, though it was stopped" service_new "$before"
before=$(service_pid)
require "our package is configured" service_dpkg --configure tlshd
cp "$RIG_DEB" /run/rig/installed.deb
cat "$WORK/dpkg"
check "ktls-utils is gone, its settings are not" equal "$(status_of ktls-utils)" config-files
check "the settings are as they were" cmp /etc/tlshd.conf "$WORK/tlshd.conf"
check "our service runs, a new process" service_new "$before"
check "enabled as before" equal "$(systemctl is-enabled tlshd.service)" enabled
check "it reads those settings" within 10 log_has 'is ready: .*/etc/tlshd.conf'
check "there is a user for workers" getent passwd tlshd
check "and one for the signer" getent passwd tlshd-signer
check "workers run as it" within 15 runs_as tlshd-worker tlshd
check "the signer as the other" within 15 runs_as tlshd-signer tlshd-signer
check "both are confined in full" not log_has 'less confined'
nfs_export mtls
nfs_works mtls

# Before there was a user for the signer, the rights to a token were those of the workers' user.
userdel -f tlshd-signer
usermod -aG audio tlshd
mkdir -p /var/lib/tlshd/tpm2
chown tlshd /var/lib/tlshd/tpm2
before=$(service_pid)
require "an upgrade" service_dpkg --install "$RIG_DEB"
check "gives the signer the groups of the workers' user" grep -qx audio <(id -Gn tlshd-signer | tr ' ' '\n')
check "and its store" equal "$(stat -c %U /var/lib/tlshd/tpm2)" tlshd-signer
check "starts it anew" service_new "$before"
check "what ktls-utils left can be purged" service_dpkg --purge ktls-utils
check "our service still runs" service_active
# That purge removes the links of any tlshd.service; docs/migration.md says so.
check "and is enabled again by hand" systemctl enable tlshd.service
check "and reads our own settings now" not test -e /etc/tlshd.conf

check "removal" service_dpkg --remove tlshd
check "says what ktls-utils 1.0.0 needs" grep -q 'cp /etc/tlshd/config /etc/tlshd.conf' "$WORK/dpkg"
check "ends it" not service_active
check "no process is left" within 15 not pgrep -x 'tlshd|tlshd-worker'
check "no program and no unit" not test -e /usr/sbin/tlshd -o -e /usr/lib/systemd/system/tlshd.service
check "the settings stay" test -e /etc/tlshd/config
# ktls-utils has taken our place, and then we are purged.
printf '%s\n' '[Service]' 'ExecStart=/bin/true' '[Install]' 'WantedBy=remote-fs.target' >/usr/lib/systemd/system/tlshd.service
require "another package's tlshd.service is enabled" systemctl enable tlshd.service
check "what a purge of ours runs" env DPKG_MAINTSCRIPT_PACKAGE=tlshd sh /var/lib/dpkg/info/tlshd.postrm purge
check "leaves that enabled" systemctl --quiet is-enabled tlshd.service
rm /usr/lib/systemd/system/tlshd.service
check "purge" service_dpkg --purge tlshd
check "takes them, too" not test -e /etc/tlshd/config
check "and no link to the unit is left" not test -L /etc/systemd/system/remote-fs.target.wants/tlshd.service
rm -f /run/rig/installed.deb
