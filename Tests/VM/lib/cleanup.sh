# shellcheck shell=bash
# Run in the guest after each case: takes down what the case left, and fails with a last line that says what stayed.
# shellcheck source=Tests/VM/lib/nvme.sh
. "$(dirname "${BASH_SOURCE[0]}")/nvme.sh"
# shellcheck source=Tests/VM/lib/netns.sh
. "$(dirname "${BASH_SOURCE[0]}")/netns.sh"

# Where systemd runs, it would start again what is killed.
stop_service() {
    [ -d /run/systemd/system ] || return 0
    systemctl stop tlshd.service 2>/dev/null
    rm -rf /etc/systemd/system/tlshd.service.d
    systemctl daemon-reload
    systemctl reset-failed 2>/dev/null
}

# The daemon and whatever a case started; the NFS services stay for the next case.
end_processes() {
    local name
    for name in tlshd tlshd-worker tcpdump python3 mount mount.nfs4 nvme openssl dd; do
        pkill -KILL -x "$name"
    done
}

unmount_all() {
    local folder
    for folder in /mnt/*; do
        if mountpoint -q "$folder"; then
            timeout 5 umount "$folder" || umount -f -l "$folder"
        fi
    done
    exportfs -au 2>/dev/null
    exportfs -f 2>/dev/null
    if mountpoint -q /srv/rig; then
        umount /srv/rig || umount -l /srv/rig
    fi
}

# A target keeps what a client locked, and a client its state: both go with the server's threads.
stop_nfs() {
    if [ -e /proc/fs/nfsd/threads ] && [ "$(cat /proc/fs/nfsd/threads)" != 0 ]; then
        timeout 20 rpc.nfsd 0
    fi
    # Clients that never said good-bye would give the next server a grace period.
    pkill -KILL -x nfsdcld
    rm -rf /var/lib/nfs/nfsdcld
}

clear_keys() {
    local id
    awk '$8 == "keyring" && ($9 == ".nvme:" || $9 ~ /^rig/) { print $1 }' /proc/keys | while read -r id; do
        keyctl clear "0x$id"
    done
}

remove_modules() {
    local _
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -e /proc/tlsh ] || return 0
        rmmod tlsh 2>/dev/null || sleep 0.5
    done
}

# Everything the next case must not find.
leftovers() {
    local folder
    for folder in /mnt/*; do
        ! mountpoint -q "$folder" || echo "$folder is still mounted"
    done
    ! grep -q ' nfs4\? ' /proc/mounts || echo "an NFS mount is left: $(grep -m1 ' nfs4\? ' /proc/mounts)"
    [ -z "$(ip netns list)" ] || echo "a network namespace is left"
    ! pgrep -x 'tlshd|tlshd-worker' >/dev/null || echo "the daemon does not die"
    [ ! -e /proc/tlsh ] || echo "the module tlsh does not unload"
    if compgen -G '/sys/class/nvme/nvme*' >/dev/null; then echo "an NVMe controller is left"; fi
    if compgen -G '/sys/kernel/config/nvmet/ports/*' >/dev/null; then echo "an NVMe port is left"; fi
}

stop_service
end_processes
unmount_all
stop_nfs
nvme_remove
ns_remove
clear_keys
remove_modules
for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(leftovers)
    [ -n "$left" ] || exit 0
    sleep 0.5
done
echo "$left" | head -1
exit 1
