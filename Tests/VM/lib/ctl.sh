# shellcheck shell=bash
# Sourced: tlshctl.

# ctl ARG...: runs it. Sets ctl_text, ctl_line (its first line) and ctl_status, which is also its own status.
ctl() {
    # What it says while it waits, on standard error, comes last.
    ctl_text=$("$RIG_DAEMON/tlshctl" "$@" 2>"$WORK/ctl.err")
    ctl_status=$?
    ctl_text+=$(cat "$WORK/ctl.err")
    ctl_line=${ctl_text%%$'\n'*}
    say "      tlshctl $* [$ctl_status]: $ctl_line"
    return $ctl_status
}

# ctl_says STATUS REGEX ARG...: whether it ends with that status, and its first line matches.
ctl_says() {
    local status=$1 regex=$2
    shift 2
    ctl "$@"
    if [ "$ctl_status" = "$status" ] && [[ $ctl_line =~ $regex ]]; then return 0; fi
    printf '%s\n' "$ctl_text"
    return 1
}
