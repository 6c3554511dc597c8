# shellcheck shell=bash
# shows: a kernel without AF_TLSH is the normal case: nothing of it in the log, but for one line at debug level
# guest: uml qemu
# check: uml
daemon_start
check "the log is silent about it" not grep -q AF_TLSH "$DAEMON_LOG"
daemon_stop
daemon_start -l 1
check "at debug level it has one line" equal "$(grep -c 'no AF_TLSH' "$DAEMON_LOG")" 1
nfs_export tls
nfs_works tls
