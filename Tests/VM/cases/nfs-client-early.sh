# shellcheck shell=bash
# shows: a client certificate that is not yet valid is refused, at once and with the reason
# guest: uml
daemon_config client=client-new
daemon_start
nfs_export mtls:tls
nfs_client_refused
check "the server's line names the reason" within 10 log_has 'not.yet.valid|not.*activated'
check "the client's line tells of the refusal" within 10 log_has 'alert|refused|rejected|denied'
