# shellcheck shell=bash
# shows: on a kernel started without Landlock, workers and signer reach no file, and the missing layer is told once
# guest: no-landlock
# check: no
mount -t securityfs security /sys/kernel/security 2>/dev/null
require "security modules are known" grep -q capability /sys/kernel/security/lsm
require "the kernel was started without Landlock" not grep -q landlock /sys/kernel/security/lsm

daemon_start
nfs_export mtls
nfs_works mtls
check "the log names the layer that is missing" log_all_has 'workers are less confined.*the kernel has no Landlock'
check "of the signer, too" log_all_has 'the signer is less confined.*the kernel has no Landlock'
kill -KILL "$(pgrep -P "$daemon_pid" -n -x tlshd-worker)"
check "a worker is replaced" within 15 log_has 'worker [0-9]+ .*was killed by signal 9'
check "by one that is ready" within 15 daemon_has_workers
check "and it is told once" equal "$(grep -c 'workers are less confined' "$DAEMON_LOG")" 1
ctl status >/dev/null
for process in workers signer; do
    check "status shows the layers of the $process" grep -qE "sandbox +$process: .*root directory without files, seccomp" <<<"$ctl_text"
    check "and the one that is missing" grep -qE "missing +$process: the kernel has no Landlock" <<<"$ctl_text"
done
ctl status --json >/dev/null
json_has_layers() {
    python3 -c 'import json, sys
found = {each["process"]: each for each in json.load(sys.stdin)["data"]["confinement"]}
assert "root directory without files" in found["workers"]["layers"], found
assert any("Landlock" in lack for lack in found["signer"]["lacking"]), found' <<<"$ctl_text"
}
check "in JSON, too" json_has_layers
for process in $(pgrep -P "$daemon_pid" -x 'tlshd-worker|tlshd-signer'); do
    check "no file is below the root directory of $process" equal "$(readlink "/proc/$process/root")" "/proc/$process/fdinfo"
done

require "the probe is built: swift build --product SandboxProbe" test -x "$RIG_DAEMON/SandboxProbe"
# "rooted" is without the filter of system calls: what is refused there, the root directory refuses.
enoent=2
for attempt in open_file read_proc read_memory create_file remove_file look_at_file; do
    "$RIG_DAEMON/SandboxProbe" rooted $attempt
    check "code in a worker cannot $attempt" equal $? $enoent
done
"$RIG_DAEMON/SandboxProbe" rooted allocate
check "nor allocate without end: ENOMEM" equal $? 12
