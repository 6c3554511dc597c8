# shellcheck shell=bash
# shows: an NFS server with two authorities, allow rules, session tags, a client that knows its server by a pin; all from config.d
# guest: uml
# check: no
etc=$WORK/etc
mkdir -p "$etc/config.d" "$etc/tags.d" /etc/tlshd
[ -e /etc/tlshd.conf ] || touch /etc/tlshd.conf
cat >"$etc/config" <<CONFIG
[authenticate.client]
x509.truststore=$PKI/ca.pem
x509.certificate=$PKI/client.pem
x509.private_key=$PKI/client.key
[authenticate.server]
x509.truststore=$PKI/ca.pem
x509.certificate=$PKI/server.pem
x509.private_key=$PKI/server.key
x509.allow.san=DNS:client.rig
CONFIG
cat >"$etc/config.d/10-six.conf" <<CONFIG
[profile six server]
match.role=server
match.peer_address=::1
x509.truststore=$PKI/other-ca.pem
x509.certificate=$PKI/server.pem
x509.private_key=$PKI/server.key
[profile six client]
match.role=client
match.peer_name=server6.rig
x509.truststore=$PKI/ca.pem
x509.certificate=$PKI/client-alien.pem
x509.private_key=$PKI/client-alien.key
CONFIG
cat >"$etc/tags.d/rig.yml" <<'TAGS'
filters:
  rig: {type: x509.tbs.issuer, pattern: 'CN=rig ca'}
  self: {type: x509.derived.selfSigned}
tags:
  of-the-rig:
    filter: [rig, not self]
  not-of-the-rig:
    filter: [not rig]
TAGS
(
    keyctl new_session >/dev/null
    # The guest's ktls-utils has brought its own file. A mount namespace of the daemon's own hides it, and ends with it.
    # shellcheck disable=SC2016  # expanded there
    exec unshare --mount sh -c 'mount --bind "$1" /etc/tlshd && mount --bind "$1/config" /etc/tlshd.conf && exec "$2" -s' \
        sh "$etc" "$(daemon_command)"
) >>"$DAEMON_LOG" 2>&1 </dev/null &
daemon_pid=$!
require "the daemon is ready" within 60 daemon_said_ready 1
check "with the settings of both places" within 10 log_has 'settings are from /etc/tlshd.conf, /etc/tlshd/config.d/10-six.conf'
check "that the kernel takes no tags is said" within 10 log_has "this kernel takes no session tags"
nfs_export mtls

nfs_works mtls
check "over IPv4 the first authority counts, and its client has its tag" \
    within 10 log_has 'NFS server: TLS with 127.0.0.1:.* is up: .*peer CN=client, tags of-the-rig,'
nfs_works mtls server6.rig
check "over IPv6 the second does" \
    within 10 log_has 'NFS server, profile six server: TLS with \[::1\]:.* is up: .*peer CN=client-alien, tags not-of-the-rig,'

log_mark
printf '%s\n' "[authenticate.client]" "x509.certificate=$PKI/client-alien.pem" "x509.private_key=$PKI/client-alien.key" \
    >"$etc/config.d/20.conf"
nfs_client_refused
check "a client of the second authority is nobody to the first" \
    within 10 log_has 'NFS server: TLS with .* failed: .*unknown authority \(CN=client-alien'

log_mark
printf '%s\n' "[authenticate.server]" "x509.allow.san=DNS:*.elsewhere.rig;IP:192.0.2.0/24" >"$etc/config.d/20.conf"
nfs_client_refused
check "a client whose names are not allowed is refused, and they are told" within 10 log_has \
    'NFS server: TLS with .* failed: .*not allowed here \(x509.allow.san: CN=client carries DNS:client.rig.*sent alert access_denied'

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$WORK/appliance.key" \
    -out "$WORK/appliance.pem" -subj "/CN=appliance" -days 20000 2>/dev/null
digest=$(openssl x509 -in "$WORK/appliance.pem" -noout -fingerprint -sha256)
pin() { # DIGEST: the server is the appliance, and the client knows it by this
    printf '%s\n' "[authenticate.server]" "x509.certificate=$WORK/appliance.pem" "x509.private_key=$WORK/appliance.key" \
        "[profile appliance]" "match.role=client" "match.peer_name=server.rig" "x509.pin=sha256:$1" \
        "x509.certificate=$PKI/client.pem" "x509.private_key=$PKI/client.key" >"$etc/config.d/new"
    mv "$etc/config.d/new" "$etc/config.d/20.conf"
}
log_mark
pin "${digest#*=}"
nfs_works mtls
check "a self-signed server is known by its digest" \
    within 10 log_has 'NFS client, profile appliance: TLS with server.rig .* is up: .*peer CN=appliance'
log_mark
pin "$(printf '%064d' 0)"
nfs_refused mtls EACCES
shown=$(tr -d : <<<"${digest#*=}" | tr A-F a-f)
check "another is not, and the log has its digest" within 10 log_has \
    "NFS client, profile appliance: TLS with server.rig .* failed: the peer's certificate is not one of x509.pin \(CN=appliance has sha256:$shown"

log_mark
printf '%s\n' "[authenticate.server]" "tls.groups=SECP384R1" "tls.suites=TLS_AES_256_GCM_SHA384" >"$etc/config.d/20.conf"
nfs_works mtls
check "suites and groups are cut to what is written" \
    within 10 log_has 'NFS server: TLS with .* is up: x509, TLS_AES_256_GCM_SHA384, SECP384R1,'

log_mark
printf '%s\n' "tags:" "  broken: {filter: [nothing]}" >"$etc/tags.d/a.yml"
check "broken tags leave the former ones, with the place" \
    within 15 log_has 'former session tags stay in force: /etc/tlshd/tags.d/a.yml:2:21'
