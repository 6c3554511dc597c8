#!/bin/sh
# The network is up: connects to the NVMe/TCP subsystem that tlshd.nvme= names. The server may come up after us, as after a power failure.

# tlshd_connect ADDRESS PORT NQN [HOSTNQN]
tlshd_connect() {
    tlshd_tries=0
    until nvme connect --transport=tcp --traddr="$1" --trsvcid="$2" --nqn="$3" ${4:+--hostnqn="$4"} --tls --ctrl-loss-tmo=-1; do
        tlshd_tries=$((tlshd_tries + 1))
        if [ $tlshd_tries -ge 90 ]; then
            warn "no connection to $3 at $1; tlshd says: $(tail -n 5 /run/tlshd/log)"
            return
        fi
        sleep 1
    done
    : >/run/tlshd/connected
}

tlshd_nvme=$(getarg tlshd.nvme=)
# Each interface that comes up brings us here.
if [ -n "$tlshd_nvme" ] && [ ! -e /run/tlshd/connected ]; then
    tlshd_fields=$IFS
    IFS=,
    # shellcheck disable=SC2086  # that is what IFS is for
    set -- $tlshd_nvme
    IFS=$tlshd_fields
    tlshd_connect "$@"
fi
