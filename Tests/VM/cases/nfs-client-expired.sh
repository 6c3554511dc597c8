# shellcheck shell=bash
# shows: a client certificate that has expired is refused, at once and with the reason
# guest: uml
daemon_config client=client-old
daemon_start
nfs_export mtls:tls
nfs_client_refused
check "the server's line names the reason" within 10 log_has 'expired'
check "the client's line tells of the refusal" within 10 log_has 'alert|refused|rejected|denied'
