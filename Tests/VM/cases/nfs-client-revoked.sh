# shellcheck shell=bash
# shows: a client certificate that the CRL lists as revoked is refused, at once and with the reason
# guest: uml
daemon_config client=client-revoked server_crl=ca.crl
daemon_start
nfs_export mtls:tls
nfs_refused mtls EACCES
check "the server's line names the reason" log_has 'revoked'
check "the client's line tells of the refusal" log_has 'alert|refused|rejected|denied'
