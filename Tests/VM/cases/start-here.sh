# shellcheck shell=bash
# shows: the commands of docs/start-here.md, as printed there: certificates, NFS over mutual TLS, NVMe/TCP over TLS
# guest: systemd
# limit: 900
page=$RIG_DOCS/start-here.md
names="nfs1.example.com client1.example.com host1.example.com"
address=192.0.2.7
subsystem=nqn.2026-11.com.example:disks
root=/run/rig/root

# blocks ROLE...: runs the page's blocks of these roles in their order, each in a shell of its own that ends with the
# first command that fails.
blocks() {
    local file
    rm -f "$WORK"/block-*
    awk -v roles=" $* " -v out="$WORK/block-" '
        /^```/ { if (file) { close(file); file = "" }
                 else if ($1 == "```sh" && index(roles, " " $2 " ")) file = sprintf("%s%02d-%s", out, ++n, $2)
                 next }
        file { print >file }' "$page"
    require "the page has commands for $*" test -e "$WORK"/block-01-*
    for file in "$WORK"/block-*; do
        require "${file##*/block-}: $(head -n 1 "$file") ..." bash -eu "$file"
    done
}

# machine: the guest is each machine of the page, by the same name and address.
machine() {
    cp /etc/hosts /etc/nvme/hostnqn /etc/nvme/hostid "$WORK"
    echo "127.0.0.1 $names" >>/etc/hosts
    ip address add $address/32 dev lo
    echo "$NVME_HOST" >/etc/nvme/hostnqn
    echo "$NVME_HOST_ID" >/etc/nvme/hostid
    mkdir "$WORK/bin"
    cat >"$WORK/bin/scp" <<'END'
#!/bin/bash
[[ ${!#} =~ ^root@([a-z0-9.]+):(/.*)$ ]] && getent hosts "${BASH_REMATCH[1]}" && cp "${@:1:$#-1}" "${BASH_REMATCH[2]}"
END
    chmod 755 "$WORK/bin/scp"
    PATH=$WORK/bin:$PATH
}

# server: what installing nfs-kernel-server does. The guest's root is an overlay, which NFS cannot export: what is
# exported is looked up below a root of its own. Nor can NVMe use a file of it as a disk.
server() {
    mount -t tmpfs srv /srv
    mkdir -p $root /srv/nfs /etc/nfs.conf.d
    mount -t tmpfs root $root
    mkdir -p $root/srv/nfs
    mount --bind $root/srv/nfs /srv/nfs
    printf '[exports]\nrootdir=%s\n' $root >/etc/nfs.conf.d/rig.conf
    pkill -x rpc.mountd
    require "rpc.mountd has ended" within 5 not pgrep -x rpc.mountd
    nfs_server 8
}

put_back() {
    umount /mnt/nfs
    exportfs -au
    sed -i '\|/srv/nfs|d' /etc/exports /etc/fstab
    systemctl daemon-reload
    pkill -x rpc.mountd
    nvme_remove
    umount /srv/nfs /srv $root
    ip address delete $address/32 dev lo
    cp "$WORK/hosts" /etc/hosts
    cp "$WORK/hostnqn" "$WORK/hostid" /etc/nvme
    rm -rf /etc/nfs.conf.d/rig.conf /etc/tlshd/* /root/tls /root/nvme.key
}

service_install
rm -rf /etc/tlshd/*
trap put_back EXIT
machine
server
service_follow
log_mark

blocks authority-certtool
check "certtool's certificates are good, too" openssl verify -CAfile /root/tls/ca.pem /root/tls/server.pem /root/tls/client.pem
check "for the server" ctl_says 0 '^ok: CN=nfs1.example.com is for nfs1.example.com' \
    check --peer nfs1.example.com --certificate /root/tls/server.pem
rm -r /root/tls

tls_mark
blocks authority authority-copy server client
check "the mount is up, with mutual TLS" grep -q '^nfs1.example.com:/srv/nfs /mnt/nfs nfs4 .*xprtsec=mtls[, ]' /proc/mounts
check "kTLS keyed both ends" tls_rose 2
check "no record failed to decrypt" tls_no_errors
check "the client's line is as the page shows it" within 10 log_has \
    'NFS client: TLS with nfs1.example.com \(127.0.0.1:2049\) is up: x509, TLS_[A-Z0-9_]+, [A-Za-z0-9]+, ALPN sunrpc, peer CN=nfs1.example.com,'
check "so is the server's" within 10 log_has \
    'NFS server: TLS with 127.0.0.1:[0-9]+ is up: x509, TLS_[A-Z0-9_]+, [A-Za-z0-9]+, ALPN sunrpc, peer CN=client1.example.com,'
check "status is as the page says" ctl_says 0 '^ok: tlshd [0-9.]+ serves handshakes; [0-9]+ so far, no problems' status

log_mark
tls_mark
blocks target host
check "the disk is there" within 10 nvme_has_device $subsystem
ln -s /srv/disk "$WORK/disk"
check "what is written to it is in the target's file" nvme_data $subsystem disk
check "kTLS keyed both ends of two queues or more" tls_rose 4
check "no record failed to decrypt" tls_no_errors
check "the host's line is as the page shows it" within 10 log_has \
    "NVMe host: TLS with $address:4420 is up: PSK, TLS_[A-Z0-9_]+, [A-Za-z0-9]+, identity \"NVMe1R01 $NVME_HOST $subsystem "
check "status is as the page says" ctl_says 0 '^ok: tlshd [0-9.]+ serves handshakes; [0-9]+ so far, no problems' status
