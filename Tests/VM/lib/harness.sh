# shellcheck shell=bash
# harness.sh CASE: runs one case in the guest. The case is sourced, so that it has the library's words.
set -u
lib=$(dirname "${BASH_SOURCE[0]}")
export PKI=/run/rig/pki WORK=$RIG_WORK DAEMON_LOG=$RIG_RESULT/daemon.log
: >"$DAEMON_LOG"
# A session keyring of its own: what this case's tools link into it is not there for the next.
keyctl new_session >/dev/null
for part in check daemon ctl tls nfs nvme tlsh capture fake stranger transcript netns service token load drbd boot; do
    # shellcheck source=/dev/null
    . "$lib/$part.sh"
done
# shellcheck source=/dev/null
. "$1"
finish
