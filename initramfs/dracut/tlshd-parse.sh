#!/bin/sh
# tlshd.nvme=ADDRESS,PORT,NQN[,HOSTNQN] needs the network. dracut sets up the network by itself only if the root is not a device.
if getarg tlshd.nvme= >/dev/null; then
    mkdir -p /etc/cmdline.d
    echo rd.neednet=1 >/etc/cmdline.d/75-tlshd.conf
fi
