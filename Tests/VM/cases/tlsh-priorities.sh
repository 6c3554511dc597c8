# shellcheck shell=bash
# shows: AF_TLSH: a priority string of the kernel's narrows what is negotiated, never widens it, and a bad one is refused
# guest: qemu
# module: tlsh
tlsh_load
daemon_start
try() { # PRIORITIES
    tlsh_peer_serves openssl 4433 --certificate server
    tlsh_ask connect 127.0.0.1 4433 type=0 peername=localhost "priorities=$1"
    tlsh_end
}
check "one cipher" tlsh_carried "$(try NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305 | tail -1)"
check "is the one" within 10 log_has 'AF_TLSH client: TLS with localhost .* is up: x509, TLS_CHACHA20_POLY1305_SHA256, '
log_mark
check "one group" tlsh_carried "$(try NORMAL:-GROUP-ALL:+GROUP-SECP384R1 | tail -1)"
check "is the one" within 10 log_has 'AF_TLSH client: TLS with localhost .* is up: x509, TLS_[A-Z0-9_]+, SECP384R1, '
log_mark
check "what is weaker than our own does not come in" tlsh_carried \
    "$(try NORMAL:+VERS-TLS1.2:+AES-128-CBC:%UNSAFE_RENEGOTIATION | tail -1)"
check "TLS 1.3 it is" within 10 log_has 'AF_TLSH client: TLS with localhost .* is up: x509, TLS_AES_'
log_mark
check "one that nobody understands is refused" tlsh_refused "$(try NORMAL:+NO-SUCH-THING | tail -1)"
check "by its name" within 10 log_has "AF_TLSH client: TLS with localhost .* failed: the kernel's priority string cannot be honoured .*NO-SUCH-THING"
log_mark
check "one without TLS 1.3 is refused" tlsh_refused "$(try NORMAL:-VERS-ALL:+VERS-TLS1.2 | tail -1)"
check "by its name" within 10 log_has "AF_TLSH client: TLS with localhost .* failed: the kernel's priority string cannot be honoured .*VERS-TLS1.2.* leaves no TLS 1.3"
log_mark
check "one without a cipher of the kernel's is refused" tlsh_refused "$(try NORMAL:-CIPHER-ALL:+AES-128-CBC | tail -1)"
check "by its name" within 10 log_has "AF_TLSH client: TLS with localhost .* failed: the kernel's priority string cannot be honoured .*AES-128-CBC.* leaves no"
daemon_stop
tlsh_unload
