#!/bin/sh
# The network is up: connects to the NVMe/TCP subsystem of tlshd.nvme=. The server may start after this machine, for example after a
# power failure.

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
# dracut runs this hook for each interface that comes up.
if [ -n "$tlshd_nvme" ] && [ ! -e /run/tlshd/connected ]; then
    tlshd_fields=$IFS
    IFS=,
    # shellcheck disable=SC2086  # split at IFS
    set -- $tlshd_nvme
    IFS=$tlshd_fields
    tlshd_connect "$@"
fi
