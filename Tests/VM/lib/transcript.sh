# shellcheck shell=bash
# Sourced: what a newcomer is shown by the case "demo".
bold="" green="" red="" dim="" plain=""
if [ "${RIG_COLOUR:-0}" = 1 ]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
fi

heading() { printf '\n%s=== %s%s\n' "$bold" "$*" "$plain"; }
tell() { printf '%s\n' "$*" | fmt -w 100; }

# typed COMMAND: prints a command line and what it says, and remembers whether it worked.
typed() {
    printf '%s# %s%s\n' "$bold" "$1" "$plain"
    eval "$1" 2>&1 | sed 's/^/  /'
    typed_status=${PIPESTATUS[0]}
    shown "${2:-the command works}" test "$typed_status" = 0
}

# shown TEXT COMMAND...: an assertion that is silent when it holds.
shown() {
    local text=$1
    shift
    checks=$((checks + 1))
    "$@" && return
    failures=$((failures + 1))
    printf '%sFAIL  %s%s\n' "$red" "$text" "$plain"
}

# daemon_says: the daemon's lines since the last time.
daemon_says() {
    printf '%sthe daemon:%s\n' "$dim" "$plain"
    log_since | sed "s/^/  $green/; s/\$/$plain/"
    shown "the daemon said something" test -n "$(log_since)"
    log_mark
}

# counters WHAT N: the kernel's counters since tls_mark; N sessions and more must have been keyed in each direction.
counters() {
    printf '%sthe kernel (/proc/net/tls_stat), since before this step:%s\n' "$dim" "$plain"
    printf '  TlsTxSw +%d  TlsRxSw +%d  TlsDecryptError +%d   (%s)\n' $(($(tls_count TlsTxSw) - tls_tx)) \
        $(($(tls_count TlsRxSw) - tls_rx)) $(($(tls_count TlsDecryptError) - tls_errors)) "$1"
    shown "kTLS keyed both ends" test $(($(tls_count TlsTxSw) - tls_tx)) -ge "$2" -a \
        $(($(tls_count TlsRxSw) - tls_rx)) -ge "$2"
    shown "no record failed to decrypt" tls_no_errors
}

same() { # FILE FILE
    if cmp "$1" "$2"; then
        printf '%s  equal: %s bytes%s\n' "$green" "$(stat -Lc %s "$1")" "$plain"
    else
        shown "$1 and $2 are equal" false
    fi
}
