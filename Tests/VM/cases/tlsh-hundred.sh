# shellcheck shell=bash
# shows: AF_TLSH: a hundred requests at once, all of them served
# guest: qemu memory
# check: no
# module: tlsh
tlsh_load
daemon_start
tls_mark
tlsh_peer_serves openssl 4433 --certificate server --count 100
kill -STOP "$daemon_pid"
for number in $(seq 100); do
    tlsh_start "one$number" connect 127.0.0.1 4433 type=0 peername=localhost timeout=30000 bytes=20000
done
hundred_wait() { equal "$(cat /proc/tlsh)" requests=100; }
check "a hundred wait" within 30 hundred_wait
begin=$(now_ms)
kill -CONT "$daemon_pid"
tlsh_end
say "      took $(($(now_ms) - begin)) ms"
good=$(cat "$WORK"/one* | grep -c '^connected=0 submitted=0 status=0 data=0 carried=20000 ')
sort "$WORK"/one* | cut -d' ' -f1-5 | uniq -c
check "all hundred are served, and carry their bytes (were $good)" equal "$good" 100
check "kTLS carried them" tls_rose 100
check "no record failed to decrypt" tls_no_errors
daemon_stop
tlsh_unload
