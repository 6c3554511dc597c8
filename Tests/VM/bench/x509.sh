# shellcheck shell=bash
# shows: mutual x509 with P-256: 8 at once, one at a time, 24 at once; both daemons and the library, alternating
# guest: uml qemu
# module: load
bench_open
for _ in 1 2; do
    limit_run limit "$PKI" 3 mutual
    for who in ours peer; do
        contestant $who
        daemon_start
        pairs=$([ $who = ours ] && echo 160 || echo 40)
        load $who-warm run 16 4 x509
        load $who-8 run "$pairs" 8 x509
        load $who-1 run $((pairs / 5)) 1 x509
        load $who-24 run "$pairs" 24 x509
        cpu $who-cpu
        daemon_stop
    done
done
bench_close
