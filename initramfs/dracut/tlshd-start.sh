#!/bin/sh
# Starts tlshd and waits until it serves: a mount that finds nobody fails at once. Its log is kept for those who are dropped into a shell.
mkdir -p /run/tlshd
# It tries the kernel's TLS on a connection to itself.
ip link set lo up 2>/dev/null
for module in tls nfsv4 nvme_tcp; do modprobe "$module" 2>/dev/null; done
/usr/sbin/tlshd --stderr >/run/tlshd/log 2>&1 &
tlshd_process=$!
echo $tlshd_process >/run/tlshd/initramfs.pid
tlshd_wait=0
until grep -q 'is ready' /run/tlshd/log; do
    tlshd_wait=$((tlshd_wait + 1))
    if [ $tlshd_wait -gt 300 ] || ! kill -0 $tlshd_process 2>/dev/null; then
        warn "tlshd does not start: $(cat /run/tlshd/log)"
        break
    fi
    sleep 0.1
done
