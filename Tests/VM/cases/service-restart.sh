# shellcheck shell=bash
# shows: restarts while NFS mounts come and go and a slow peer takes its time: nothing fails, and no consumer waits
# guest: systemd
service_install
service_start
nfs_export mtls

# mounts FILE: mounts and unmounts until told to stop; a line for each, with what failed.
mounts() {
    mkdir -p "/mnt/load-$1"
    while [ -e "$WORK/go" ]; do
        begin=$(now_ms)
        if text=$(mount -t nfs4 -o xprtsec=mtls,retry=0,vers=4.2 server.rig:/ "/mnt/load-$1" 2>&1); then
            echo "ok $(($(now_ms) - begin))"
            umount "/mnt/load-$1"
        else
            echo "failed $text"
        fi
    done >"$WORK/mounts-$1"
}
made() { cat "$WORK"/mounts-* | grep -c ^ok; }
made_more() { [ "$(made)" -gt "$1" ]; }
old_gone() { [ "$(pgrep -c -x tlshd)" = 1 ]; }
touch "$WORK/go"
load=()
for number in 1 2; do
    mounts $number &
    load+=($!)
done
require "mounts are made" within 60 made_more 0
restarts=6
for _ in $(seq $restarts); do
    pid=$(service_pid) before=$(made)
    systemctl restart tlshd.service || break
    check "a new process serves" within 10 service_new "$pid"
    check "and mounts go on" within 60 made_more $((before + 1))
done
rm "$WORK/go"
check "the mounts end" within 60 not kill -0 "${load[@]}" 2>/dev/null
say "      $(made) mounts, the longest $(sed -n 's/^ok //p' "$WORK"/mounts-* | sort -n | tail -1) ms"
grep -h ^failed "$WORK"/mounts-* | sort | uniq -c
check "none failed" equal "$(cat "$WORK"/mounts-* | grep -c ^failed)" 0
check "old processes served on until new ones did" within 10 log_has 'keeps serving until the replacement is ready'
check "no handshake was given up" not log_has 'given up|cancelling|failed'
check "the old processes are gone" within 15 old_gone
# systemd has the socket, too, and holds it for the next tlshd.
check "tlshctl knows who listens" within 15 ctl_says 0 '^ok:' check --only listeners
