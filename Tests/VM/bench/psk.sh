# shellcheck shell=bash
# shows: PSK (NVMe0R01, SHA-256), 8 at once; both daemons and the library, alternating
# guest: qemu
# module: load
bench_open
require "the keyring .nvme" within 10 test -n "$(nvme_keyring .nvme)"
nvme_raw_key .nvme nqn.bench
serial=$(($(nvme_key_serial "NVMe0R01 $NVME_HOST nqn.bench")))
ring=$(($(nvme_keyring .nvme)))
for _ in 1 2; do
    limit_run limit "$PKI" 3 psk
    for who in ours peer; do
        contestant $who
        daemon_config keyrings=.nvme
        daemon_start
        load $who-warm run 16 4 psk $ring $serial
        load $who-8 run "$([ $who = ours ] && echo 300 || echo 50)" 8 psk $ring $serial
        cpu $who-cpu
        daemon_stop
    done
done
bench_close
