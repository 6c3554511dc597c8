# shellcheck shell=bash
# Sourced: the kernel's own TLS counters, which show that data went through kTLS.

tls_count() { awk -v n="$1" '$1 == n { print $2; found = 1 } END { if (!found) print 0 }' /proc/net/tls_stat; }

# tls_mark: remembers the counters. tls_rose [N]: whether N (1) or more sending and receiving sessions were keyed since.
tls_mark() {
    modprobe tls
    tls_tx=$(tls_count TlsTxSw)
    tls_rx=$(tls_count TlsRxSw)
    tls_errors=$(tls_count TlsDecryptError)
}

tls_rose() {
    local tx=$(($(tls_count TlsTxSw) - tls_tx)) rx=$(($(tls_count TlsRxSw) - tls_rx))
    say "      TlsTxSw +$tx, TlsRxSw +$rx"
    [ $tx -ge "${1:-1}" ] && [ $rx -ge "${1:-1}" ]
}

tls_unmoved() { [ "$(tls_count TlsTxSw)" = "$tls_tx" ] && [ "$(tls_count TlsRxSw)" = "$tls_rx" ]; }

tls_no_errors() { [ "$(tls_count TlsDecryptError)" = "$tls_errors" ]; }
