# shellcheck shell=bash
# shows: mutual x509, 8 at once, with the system's trust store as well; both daemons and the library, alternating
# guest: uml qemu
# module: load
bench_open
mkdir "$WORK/store"
cp "$PKI"/{client,server}.{pem,key} "$WORK/store"
cat "$PKI/ca.pem" /etc/ssl/certs/ca-certificates.crt >"$WORK/store/ca.pem"
export PKI=$WORK/store
for _ in 1 2; do
    limit_run limit "$PKI" 4 mutual
    for who in ours peer; do
        contestant $who
        daemon_start
        load $who-warm run 8 4 x509
        load $who-8 run "$([ $who = ours ] && echo 160 || echo 16)" 8 x509
        daemon_stop
    done
done
bench_close
