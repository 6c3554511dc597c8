# shellcheck shell=bash
# shows: mounts work while the daemon of ktls-utils serves beside ours, as docs/migration.md advises for a change with apt
# guest: uml
# check: no
# Without client certificates: ktls-utils would need the key type asymmetric for them, which this guest has not.
mounts() { # TEXT
    local number
    for number in 1 2 3 4 5; do
        check "$1: mount $number" nfs_mount tls
        check "$1: unmount $number" nfs_unmount
    done
}

daemon_config
cp /usr/sbin/tlshd "$WORK/tlshd-old"
(
    keyctl new_session >/dev/null
    exec "$WORK/tlshd-old" -c "$WORK/tlshd.conf"
) >"$WORK/old.log" 2>&1 </dev/null &
old=$!
sleep 1
require "the old daemon runs" kill -0 $old
nfs_export tls
mounts "the old daemon alone"
daemon_start
mounts "both"
kill $old
require "the old daemon ends" within 10 not kill -0 $old
mounts "ours alone"
