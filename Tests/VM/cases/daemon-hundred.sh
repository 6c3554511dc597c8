# shellcheck shell=bash
# shows: 100 connections at once, each with a certificate of its own: none is refused by the daemon
# guest: uml
daemon_start
# 8 server threads, so that never more requests wait than the kernel keeps for the daemon (10 with 4 GiB of memory).
nfs_export mtls
tls_mark
begin=$(now_ms)
fake_start connect 2049 handshake --rpc --count 100 --pki "$PKI"
wait "$fake_pid"
say "      took $(($(now_ms) - begin)) ms"
grep -v ^begun "$WORK/fake" | cut -d' ' -f1 | sort | uniq -c
check "all 100 are answered over TLS (were $(fake_count answered))" equal "$(fake_count answered)" 100
check "100 server sides were keyed" test $(($(tls_count TlsTxSw) - tls_tx)) -ge 100
check "the workers need at most half of their memory limit" daemon_data_fits
check "none was refused" not log_has 'failed|refused'
nfs_works mtls
