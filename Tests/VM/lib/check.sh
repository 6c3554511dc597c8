# shellcheck shell=bash
# Sourced: assertions. A case fails when one of them fails, and when it made none.
checks=0
failures=0
started=$(date +%s%N)

now_ms() { echo $(($(date +%s%N) / 1000000)); }

say() { printf '%6d ms  %s\n' $((($(date +%s%N) - started) / 1000000)) "$*"; }

# check TEXT COMMAND...: one assertion; COMMAND says whether it holds.
check() {
    local text=$1
    shift
    checks=$((checks + 1))
    if "$@"; then
        say "ok    $text"
    else
        failures=$((failures + 1))
        say "FAIL  $text    (was: $*)"
    fi
}

# require TEXT COMMAND...: an assertion without which the rest of the case means nothing.
require() {
    local before=$failures
    check "$@"
    [ "$failures" = "$before" ] || finish
}

finish() {
    [ "$checks" -gt 0 ] || { say "FAIL  the case asserted nothing" && exit 1; }
    [ "$failures" = 0 ]
    exit $?
}

not() { ! "$@"; }

# within SECONDS COMMAND...: whether COMMAND holds now or soon; it is tried ten times a second.
within() {
    local until=$(($(now_ms) + $1 * 1000))
    shift
    until "$@"; do
        [ "$(now_ms)" -lt $until ] || return 1
        sleep 0.1
    done
}

# at_most MILLISECONDS LIMIT, equal A B: for readable assertions.
at_most() { [ "$1" -le "$2" ]; }
equal() { [ "$1" = "$2" ]; }

# matches TEXT REGEX: the whole of TEXT.
matches() { [[ $1 =~ ^($2)$ ]]; }
