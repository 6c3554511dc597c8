# shellcheck shell=bash
# shows: mutual x509, P-256: 8 at once, one, 24 at once
# guest: uml qemu
# limit: 200
# module: load
load_open
for round in 1 2; do
    limit_run limit "$PKI" 4 mutual
    for who in ours peer; do
        contestant $who
        daemon_config
        daemon_start
        [ $who = ours ] && pairs=160 || pairs=60
        load $who-warm run 12 4 x509
        load $who-8 run $pairs 8 x509
        load $who-1 run $((pairs / 6)) 1 x509
        load $who-24 run $pairs 24 x509
        cpu $who-cpu
        daemon_stop
    done
done
rmmod tlsload
check "both rounds ran" true
