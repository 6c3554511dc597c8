# shellcheck shell=bash
# shows: tlshctl check is content with a host that works, and names what is broken in its first line
# guest: uml
check_says() { ctl_says "$1" "$2" check -c "$WORK/tlshd.conf"; }

modprobe nfsd
daemon_config server_crl=ca.crl client_crl=ca.crl
daemon_start
check "a host that works" check_says 0 '^ok: no problems found'
check "tlshd is named" grep -q 'tlshd (process [0-9]*) listens for handshakes' <<<"$ctl_text"
check "so are the suites" grep -q 'suites: TLS_AES_256_GCM_SHA384' <<<"$ctl_text"

cp "$PKI/server.key" "$WORK/own.key"
chmod 600 "$WORK/own.key"
chmod 711 "$WORK"
sed "s|$PKI/server.key|$WORK/own.key|" "$WORK/tlshd.conf" >"$WORK/own.conf"
chmod 644 "$WORK/own.conf"
setpriv --reuid=65534 --regid=65534 --clear-groups "$RIG_DAEMON/tlshctl" check -c "$WORK/own.conf" --only credentials >"$WORK/nobody" 2>&1
check "an unreadable key cannot be judged" equal $? 4
check "and that is the first line" matches "$(head -n 1 "$WORK/nobody")" 'UNKNOWN: .*\.key cannot be read by this user.*'

daemon_config server=server-old
check "an expired certificate" check_says 1 '^FAILED: server: our own certificate CN=server-old .* expired on 2021-01-01'
daemon_config
sed -i "s|$PKI/server.key|$PKI/client.key|" "$WORK/tlshd.conf"
check "the key of another" check_says 1 '^FAILED: server: no certificate in .*server.pem belongs to the private key'
daemon_config server_crl=none.crl
check "a missing revocation list" check_says 1 '^FAILED: server: .*none.crl: No such file.*no peer is accepted without'
check "an alien certificate is not for the host" ctl_says 1 '^FAILED: CN=server-other is not for server.rig' \
    check --peer server.rig --certificate "$PKI/server-other.pem"

daemon_config
volume=$WORK/volume
volume_says() { ctl_says "$1" "$2" check -c "$volume/tlshd.conf" --only settings; }
mkdir "$volume"
mount -t tmpfs -o mode=0777 volume "$volume"
cp "$WORK/tlshd.conf" "$volume/tlshd.conf"
check "a folder that others can write" volume_says 3 "^WARNING: $volume can be written by others"
mount -o remount,ro "$volume"
check "not so a volume that is mounted for reading only, as that of a ConfigMap" volume_says 0 '^ok'
mount -o remount,rw "$volume"
chown 65534 "$volume/tlshd.conf"
check "settings of another user's" volume_says 1 "^FAILED: $volume/tlshd.conf: is refused \(it belongs to uid 65534"
umount "$volume"

rival_start
check "a rival listener" check_says 3 "^WARNING: python3 \(process $rival\) also listens for handshakes"
rival_stop
daemon_stop
check "no process listens" check_says 1 '^FAILED: no process listens for handshakes.*systemctl start tlshd'

mkdir -p /etc/modprobe.d
echo 'install tls /bin/false' >/etc/modprobe.d/rig-tls.conf
if [ -e /sys/module/tls/refcnt ]; then require "the module tls can be unloaded" within 15 modprobe -r tls; fi
check "no module tls" check_says 1 '^FAILED: the kernel has no TLS: the module tls is missing'
rm /etc/modprobe.d/rig-tls.conf
modprobe tls
