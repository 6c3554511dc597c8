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
    tls_since
    [ $tls_tx_since -ge "${1:-1}" ] && [ $tls_rx_since -ge "${1:-1}" ]
}

tls_since() {
    tls_tx_since=$(($(tls_count TlsTxSw) - tls_tx))
    tls_rx_since=$(($(tls_count TlsRxSw) - tls_rx))
    say "      TlsTxSw +$tls_tx_since, TlsRxSw +$tls_rx_since"
}

tls_unmoved() {
    tls_since
    [ $tls_tx_since = 0 ] && [ $tls_rx_since = 0 ]
}

tls_no_errors() { [ "$(tls_count TlsDecryptError)" = "$tls_errors" ]; }

# tcp_mark: remembers how often the kernel has reset a connection because it was closed with unread bytes. tcp_no_abort:
# whether it has not since. A refusal ends with FIN: a reset can make the NFS client lose its verdict.
tcp_aborts() { awk '/^TcpExt:/ { if (!n) { for (i = 2; i <= NF; i++) if ($i == "TCPAbortOnClose") n = i } else print $n }' /proc/net/netstat; }
tcp_mark() { tcp_aborted=$(tcp_aborts); }
tcp_no_abort() {
    [ "${RIG_PEER:-0}" -gt 0 ] || [ "$(tcp_aborts)" = "$tcp_aborted" ]
}
