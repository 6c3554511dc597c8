#!/bin/sh
# Starts tlshd and waits until it is ready, because a mount without a daemon fails immediately. The log is kept for the emergency shell.
mkdir -p /run/tlshd
# tlshd tests the kernel's TLS on a connection to itself.
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
