# shellcheck shell=bash
# shows: memory and descriptors do not grow over many handshakes
# guest: uml
# module: load
bench_open
daemon_start
count() {
    local pid sum=0
    for pid in $(tasks); do sum=$((sum + $(find "/proc/$pid/fd" -mindepth 1 | wc -l))); done
    echo $sum
}
load warm run 500 8 x509
before=$(pss)
descriptors=$(count)
figure growth "handshakes=1000 pss_kb=$before descriptors=$descriptors"
done=1000
until=$(($(now_ms) + 60000))
while [ "$(now_ms)" -lt $until ]; do
    load many run 1000 8 x509
    done=$((done + 2000))
    figure growth "handshakes=$done pss_kb=$(pss) descriptors=$(count)"
done
as_before() { equal "$(count)" "$descriptors"; }
check "not a descriptor is left (were $descriptors)" within 20 as_before
check "memory stays within 512 kB (was $before kB, is $(pss) kB)" at_most "$(pss)" $((before + 512))
daemon_stop
bench_close
