# shellcheck shell=bash
# shows: a namespace without a profile is told so and gets no credentials of another; one that comes later is served at once
# guest: uml
ns_make 1
ns_pki 1
pki=$WORK/pki
{
    printf '%s\n' "[namespaces]" "named=yes"
    ns_profile one server "$pki/ca-1" "$pki/server-1" match.namespace=t1
    ns_profile two client "$pki/ca-1" "$pki/client-1" match.namespace=t2
} >"$WORK/tlshd.conf"
daemon_start
ns_serve 1 mtls

begin=$(now_ms)
ns_make 2
require "a new namespace is served" within 10 log_has 'namespace t2 is served'
say "      after $(($(now_ms) - begin)) ms, its making included"
check "and mounts" ns_mount 2 1
check "reading and writing" ns_same 2 1
ns_unmount 2 1

ns_make 3
require "a third is served" within 10 log_has 'namespace t3 is served'
check "but has no profile" not ns_mount 3 1
check "and is told at once (was $mount_errno)" matches "$mount_errno" 'EACCES|EIO'
check "the log names the namespace and the remedy" within 10 log_has \
    'NFS client in namespace t3: TLS with .* failed: no profile is for this network namespace \(namespace t3\); remedy: .*match.namespace'
check "the server was not shown a certificate" not log_has 'in namespace t1, profile one: TLS with 10.9.0.3.* is up'

kill -KILL "${ns_holder[3]}"
ip netns delete t3
check "one that goes is let go" within 10 log_has 'namespace t3 is no longer served'
daemon_stop
check "the daemon stops" equal $daemon_status 0
