# shellcheck shell=bash
# shows: the hardened unit serves; reload, watchdog, crash, stop; credentials and namespaces by drop-in files
# guest: systemd
own_workers() {
    local all
    all=$(pgrep -c -x tlshd-worker)
    [ "$all" -gt 0 ] && [ "$all" = "$(pgrep -c -x -P "$(service_pid)" tlshd-worker)" ]
}
kept_at_most() { [ "$(service_property NFileDescriptorStore)" -le "$1" ]; }
blue_served_twice() { [ "$(log_count 'namespace blue is served')" = 2 ]; }

service_install
service_start
nfs_export mtls
check "active" service_active
check "systemd is told what it does" matches "$(service_property StatusText)" '.*[Ss]erving.*'
check "the watchdog is on" equal "$(service_property WatchdogUSec)" 10s
check "systemd keeps sockets for the next process" test "$(service_property NFileDescriptorStore)" -ge 2
nfs_works mtls

# Reload: a new process is not needed, and settings are read again.
pid=$(service_pid)
log_mark
check "reload" systemctl reload tlshd.service
check "reads everything again" within 15 log_has 'reloading settings, credentials and keyrings'
check "in the same process" equal "$(service_pid)" "$pid"
check "which is active again" within 15 service_active

# The watchdog: a broker that hangs is killed, and requests wait for the next one.
kill -STOP "$pid"
nfs_mount mtls &
waiting=$!
check "a broker that hangs is replaced" within 40 service_new "$pid"
check "by the watchdog" test "$(service_property NRestarts)" -ge 1
wait $waiting
check "the mount that came meanwhile is up" mountpoint -q $MOUNT
nfs_unmount
check "no worker of the dead one stays" within 15 own_workers

# A crash: the same, sooner.
pid=$(service_pid)
kill -KILL "$pid"
nfs_works mtls
check "a broker that dies is replaced" within 15 service_new "$pid"

# Stop: nobody serves, and consumers hear so at once.
systemctl stop tlshd.service
check "stopped" equal "$(systemctl is-active tlshd.service)" inactive
check "nothing is left of it" within 15 not pgrep -x 'tlshd|tlshd-worker'
check "systemd keeps nothing" within 15 kept_at_most 0
nfs_refused mtls '.*'

# Keys that only systemd can read.
mkdir -p -m 700 "$WORK/private"
cp "$PKI/server.key" "$WORK/private/server.key"
sed -i "s|$PKI/server.key|%d/server.key|" /etc/tlshd/config
service_dropin credentials <<<"[Service]
LoadCredential=server.key:$WORK/private/server.key"
service_start
nfs_works mtls
ctl check --only credentials
check "tlshctl check finds what systemd gave to the service" grep -q 'server: certificate and key CN=server of' <<<"$ctl_text"

# A network namespace of its own.
rm /etc/systemd/system/tlshd.service.d/credentials.conf
service_settings
printf '[namespaces]\nnamed=yes\ndefault_profile=yes\n' >>/etc/tlshd/config
service_dropin namespaces </usr/share/doc/tlshd/examples/namespaces.conf
systemctl restart tlshd.service
ip netns add blue
check "a namespace is served" within 10 log_has 'namespace blue is served'
systemctl restart tlshd.service
check "after a restart, too" within 10 blue_served_twice
check "systemd keeps its socket" test "$(service_property NFileDescriptorStore)" -ge 3
ip netns delete blue
check "until the namespace goes" within 10 log_has 'namespace blue is no longer served'
check "its socket, too" within 15 kept_at_most 2
