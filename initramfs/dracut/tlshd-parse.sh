#!/bin/sh
# tlshd.nvme=ADDRESS,PORT,NQN[,HOSTNQN] takes the network, which dracut sets up on its own account only for a root that is no device.
if getarg tlshd.nvme= >/dev/null; then
    mkdir -p /etc/cmdline.d
    echo rd.neednet=1 >/etc/cmdline.d/75-tlshd.conf
fi
