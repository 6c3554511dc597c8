# shellcheck shell=bash
# shows: fresh handshakes beside 1,000 peers that never speak, and memory idle, with them, and after them
# guest: uml qemu
# module: load
bench_open
daemon_start
figure memory "state=start pss_kb=$(pss)"
load warm run 16 4 x509
sleep 1
figure memory "state=idle pss_kb=$(pss) processes=$(tasks | wc -l)"
load without run 120 4 x509
load stall stall 1000
load release-check run 16 4 x509
figure memory "state=stalled pss_kb=$(pss)"
check "the workers need at most half of their memory limit" daemon_data_fits
load beside run 120 4 x509
load release release
sleep 1
figure memory "state=released pss_kb=$(pss)"
load without run 120 4 x509
check "the daemon lives" daemon_alive
daemon_stop
bench_close
