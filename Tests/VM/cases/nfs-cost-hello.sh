# shellcheck shell=bash
# shows: hellos of 120,000 bytes that never end are refused by their first bytes, and shorter ones take little memory
# guest: uml
# check: no
each() { echo $((($(pss) - idle) / 100)); }
little() { [ "$(each)" -le 40 ]; }
all_sent() { [ "$(fake_count sent)" -ge 100 ]; }

daemon_start
# Each of the strangers keeps one of its threads waiting.
nfs_server 128
nfs_export tls
beside_strangers 5 hello-of-120000-unfinished --hold 120 --pause 1 --count 5
check "the log says what was too much" within 5 log_has \
    "NFS server: TLS with .* failed: the peer's handshake messages are too long \(.*a hello of 121000 bytes, at most 16384 are taken"
fake_stop
idle=$(pss)
stranger_start hello-of-16000-unfinished --count 100
require "a hundred have sent 16,000 bytes" within 30 all_sent
say "      $(each) kB each"
check "each takes 40 kB at most" little
fake_stop
nfs_works tls
