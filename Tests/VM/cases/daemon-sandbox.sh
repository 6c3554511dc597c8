# shellcheck shell=bash
# shows: workers run as nobody, without capabilities, under Landlock and seccomp; what code in them tries is denied
# guest: qemu qemu-7.2
# check: qemu
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }
# What a filtered attempt must end with, 128 + SIGSYS; bash waits for it in a shell of its own, so that it stays quiet.
denied() {
    "$RIG_DAEMON/SandboxProbe" filtered "$1" >/dev/null 2>&1
    [ $? = 159 ]
}
# rootless PID: whether its root directory is its list of descriptors.
rootless() { [ "$(readlink "/proc/$1/root")" = "/proc/$1/fdinfo" ]; }
# holds PID LAST: whether its descriptors are 0 to LAST.
holds() { [ "$(find "/proc/$1/fd" -mindepth 1 -printf '%f\n' | sort -n | tr '\n' ' ')" = "$(seq -s ' ' 0 "$2") " ]; }
all_ready() { ctl status >/dev/null; grep -qE 'workers +([0-9]+) of \1 ready' <<<"$ctl_text"; }

daemon_start
# CAP_DAC_READ_SEARCH, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_ADMIN, SYS_CHROOT
for set in CapPrm CapEff CapBnd; do
    check "the broker's $set is what it needs" test "$(field "$daemon_pid" $set)" = 00000000000415e4
done
check "the broker can gain no privileges" test "$(field "$daemon_pid" NoNewPrivs)" = 1
require "all workers are ready" within 15 all_ready
workers=$(pgrep -P "$daemon_pid")
require "there are workers" test -n "$workers"
for worker in $workers; do
    check "worker $worker runs as nobody" test "$(field "$worker" Uid | cut -f2)" = 65534
    check "with nobody's group and no other" test "$(field "$worker" Gid | cut -f2)$(field "$worker" Groups)" = 65534
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do
        check "$set is empty" test "$(field "$worker" $set)" = 0000000000000000
    done
    check "no new privileges" test "$(field "$worker" NoNewPrivs)" = 1
    check "system calls are filtered" test "$(field "$worker" Seccomp)" = 2
    check "its data is limited" grep -qE 'Max data size +[0-9]+ +[0-9]+' "/proc/$worker/limits"
    check "no file is below its root directory" rootless "$worker"
    check "it may start no process" grep -qE 'Max processes +0 +0' "/proc/$worker/limits"
    # A worker: the broker's two channels and the signer's; the signer: the broker's, and one to each worker.
    channels=3
    [ "$(cat "/proc/$worker/comm")" != tlshd-signer ] || channels=$((1 + $(pgrep -P "$daemon_pid" -c -x tlshd-worker)))
    check "it holds /dev/null, stderr, $channels channels and epoll, nothing else" within 15 holds "$worker" $((3 + channels))
done
check "the log says what is not as it should be: the user is missing here" grep -qE 'less confined.*user tlshd' "$DAEMON_LOG"
check "the signer has no user of its own here" \
    grep -qE 'the signer is less confined than it could be: .*the user tlshd-signer is missing' "$DAEMON_LOG"
check "nor may memory be locked here" grep -qF 'memory is not locked, so that keys can be swapped out' "$DAEMON_LOG"
check "status says so" grep -qE 'missing +signer: the user tlshd-signer is missing' <<<"$ctl_text"
layers='no capabilities.*no new privileges, Landlock ABI [0-9]+, root directory without files, seccomp'
for process in workers signer; do
    check "and names the layers of the $process" grep -qE "sandbox +$process: memory limit [0-9]+ MiB, user nobody, $layers" <<<"$ctl_text"
done
check "and of the broker" grep -qE 'sandbox +broker: 8 capabilities, no new privileges, Landlock ABI [0-9]+' <<<"$ctl_text"
check "and nothing of the kernel" not grep -qE 'less confined.*CONFIG_' "$DAEMON_LOG"

require "the probe is built: swift build --product SandboxProbe" test -x "$RIG_DAEMON/SandboxProbe"
check "the sandbox leaves a process alive" "$RIG_DAEMON/SandboxProbe" filtered nothing
"$RIG_DAEMON/SandboxProbe" list >"$WORK/attempts"
check "there are attempts" test "$(wc -l <"$WORK/attempts")" -ge 40
while read -r attempt; do
    check "$attempt kills" denied "$attempt"
done <"$WORK/attempts"
nfs_export mtls
nfs_works mtls
