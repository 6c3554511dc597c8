# shellcheck shell=bash
# shows: a client certificate from an unknown authority is refused, at once and with the reason
# guest: uml
daemon_config client=client-alien
daemon_start
nfs_export mtls:tls
nfs_client_refused
check "the server's line names the reason" within 10 log_has 'unknown (ca|authority|issuer)|authority|signer not|not trusted|untrusted'
check "the client's line tells of the refusal" within 10 log_has 'alert|refused|rejected|denied'
