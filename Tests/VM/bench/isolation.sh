# shellcheck shell=bash
# shows: what the replacement of workers and each level of isolation costs: mutual x509, 8 at once and one at a time, alternating
# guest: uml qemu
# limit: 1800
# module: load
bench_open
for _ in 1 2 3; do
    for level in kept replaced profile handshake; do
        daemon_config
        # Without replacement, after every 20 handshakes, or with the default and a level of isolation.
        case $level in
            kept) printf '%s\n' "[workers]" "handshakes=1000000" "minutes=1440" ;;
            replaced) printf '%s\n' "[workers]" "handshakes=20" ;;
            *) printf '%s\n' "[workers]" "isolation=$level" ;;
        esac >>"$WORK/tlshd.conf"
        daemon_start
        load $level-warm run 16 4 x509
        load $level-8 run 120 8 x509
        load $level-1 run 24 1 x509
        figure $level-memory "pss_kb=$(pss) processes=$(tasks | wc -l)"
        daemon_stop
    done
done
bench_close
