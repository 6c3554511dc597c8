# shellcheck shell=bash
# Sourced: long steps with their elapsed seconds. The caller sets log, the file that the steps' output goes to.

die() {
    echo "rig: $*" >&2
    exit 1
}

# step TEXT COMMAND...: runs COMMAND with its output in $log. What takes over two seconds is shown with elapsed
# seconds: on a terminal by one line that counts, elsewhere by a line now and then. A failure prints the log's end.
step() {
    local text=$1 start=$SECONDS pid shown="" status=0 elapsed
    shift
    echo "=== $text" >>"$log"
    # A subshell of its own, under set -e: the command is a function of the caller.
    (set -e && "$@") >>"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        elapsed=$((SECONDS - start))
        if [ "$elapsed" -lt 2 ] || [ "$elapsed" = "$shown" ]; then
            continue
        fi
        if [ -t 1 ]; then
            printf '\rrig: %s ... %d s' "$text" "$elapsed"
            shown=$elapsed
        elif [ -z "$shown" ] || [ $((elapsed - shown)) -ge 10 ]; then
            echo "rig: $text ... $elapsed s"
            shown=$elapsed
        fi
    done
    wait "$pid" || status=$?
    [ ! -t 1 ] || [ -z "$shown" ] || printf '\r\033[K'
    if [ "$status" != 0 ]; then
        tail -n 20 "$log" >&2
        die "$text failed (status $status); the whole log is in $log"
    fi
    [ -z "$shown" ] || echo "rig: $text: done in $((SECONDS - start)) s"
}
