# shellcheck shell=bash
# shows: a client certificate from an unknown authority is refused, at once and with the reason
# guest: uml
daemon_config client=client-stranger
daemon_start
nfs_export mtls:tls
nfs_refused mtls EACCES
check "the server's line names the reason" log_has 'unknown|authority|signer|trust'
check "the client's line tells of the refusal" log_has 'alert|refused|rejected|denied'
