# shellcheck shell=bash
# shows: a host that connects and drops its connection again and again is named, once, though each handshake succeeds
# guest: qemu
# check: no
subsystem=nqn.2026-01.rig:sub
told='connections with .* ended within about 2 s of their handshakes in the last minute, in 5 rounds'
nvme_modules
daemon_start
nvme_raw_key .nvme $subsystem
nvme_target $subsystem
for round in 1 2 3 4 5 6 7; do
    [ "$round" != 5 ] || check "four rounds are nothing to tell of" not log_has "$told"
    require "connect, the ${round}th time" nvme_connect_raw $subsystem "nr_io_queues=1"
    check "disconnect" nvme_disconnect $subsystem
    # The next round is one of its own.
    sleep 1.2
done
check "of the host" within 10 log_has "NVMe host: [0-9]+ $told"
check "and of the target" within 10 log_has "NVMe target: [0-9]+ $told"
check "each once" equal "$(log_count "$told")" 2
