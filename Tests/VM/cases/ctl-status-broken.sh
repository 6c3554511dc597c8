# shellcheck shell=bash
# shows: tlshctl status says in its first line what is wrong with NFS: files, certificates, names, peers, rivals, and what kept tlshd from starting
# guest: uml
status_says() { ctl_says "$1" "$2" status; }

# restart [KEY=VALUE...]: with other settings, see daemon_config.
restart() {
    daemon_stop
    daemon_config "$@"
    daemon_start
}

nfs_export mtls
restart server=server-old
check "an expired certificate refuses a mount" not nfs_mount mtls
check "expired" status_says 3 '^WARNING: server: certificate CN=server-old .* expired'
restart
check "a mount by a name that is not in the certificate" not nfs_mount mtls rig
check "wrong name" status_says 3 '^WARNING: NFS client: TLS with rig .* failed: the peer.s certificate is for another name'

# As the unit has it: root who may not read what is closed to root.
printf '%s\n' '#!/bin/sh' "exec setpriv --bounding-set=-dac_override,-dac_read_search $RIG_DAEMON/tlshd \"\$@\"" >"$WORK/confined"
chmod 755 "$WORK/confined"
daemon_command() { echo "$WORK/confined"; }
cp "$PKI/server.key" "$WORK/own.key"
chmod 600 "$WORK/own.key"
chown 65534 "$WORK/own.key"
daemon_stop
sed -i "s|$PKI/server.key|$WORK/own.key|" "$WORK/tlshd.conf"
daemon_start
check "an unreadable key" status_says 1 "^FAILED: server credentials: .*$WORK/own.key.*Permission denied"
daemon_stop
sed -i "s|$WORK/own.key|$PKI/client.key|" "$WORK/tlshd.conf"
daemon_start
check "the key of another" status_says 1 '^FAILED: server credentials: .*no certificate in .*server.pem belongs to the private key'
restart server_crl=none.crl
check "a missing revocation list" status_says 1 '^FAILED: server credentials: .*none.crl.*No such file'

restart
fake_listen 3049 plain --rpc
check "a mount of a server that promises TLS and speaks plain text" not nfs_mount tls 127.0.0.1 port=3049
fake_stop
check "a peer in plain text" status_says 3 '^WARNING: NFS client: TLS with 127.0.0.1 .* failed: the peer speaks plain text'

daemon_stop
rival_start
daemon_start
check "a rival listener" status_says 3 "^WARNING: python3 \(process $rival.* listens for handshakes, too; remedy"
rival_stop
daemon_stop

mkdir -p /etc/modprobe.d
echo 'install tls /bin/false' >/etc/modprobe.d/rig-tls.conf
if [ -e /sys/module/tls/refcnt ]; then require "the module tls can be unloaded" within 15 modprobe -r tls; fi
check "no module tls" status_says 1 '^FAILED: tlshd is not running, and cannot start: the kernel has no TLS: the module tls is missing'
rm /etc/modprobe.d/rig-tls.conf
modprobe tls
check "no daemon" status_says 1 '^FAILED: tlshd is not running, there is no /run/tlshd/control; remedy: systemctl start tlshd'
