# shellcheck shell=bash
# shows: a device between the hosts drops large packets and tells nobody: the lines of both ends, and tlshctl probe, name the MTU
# guest: uml
# check: no
address=10.9.0.254
ns_make 1
# The flight of a server with an RSA certificate is longer than a packet.
openssl req -x509 -newkey rsa:3072 -nodes -keyout "$WORK/large.key" -out "$WORK/large.pem" -subj "/CN=large" -days 20000 \
    -addext "subjectAltName=IP:$address" -addext extendedKeyUsage=serverAuth -addext keyUsage=digitalSignature \
    -CA "$PKI/ca.pem" -CAkey "$PKI/ca.key" -addext "basicConstraints=critical,CA:FALSE" 2>/dev/null
{
    printf '%s\n' "[namespaces]" "named=yes" "default_profile=yes" "[authenticate.server]" \
        "x509.truststore=$PKI/ca.pem" "x509.certificate=$WORK/large.pem" "x509.private_key=$WORK/large.key"
    daemon_config_role client client ca ""
} >"$WORK/tlshd.conf"
daemon_start
nfs_export mtls
require "the client's namespace is served" within 15 log_all_has "namespace t1 is served"

probe() { ns_run 1 "$RIG_DAEMON/tlshctl" probe "$address:/" -c "$WORK/tlshd.conf" >"$WORK/probe" 2>&1; }
check "the probe works while packets of 1500 bytes arrive" probe
head -n 1 "$WORK/probe"

# A packet of more than 1280 bytes is dropped behind the bridge, and the client's offer of larger segments stays.
ip link set rigbr gso_max_segs 1
ns_run 1 ip link set eth0 mtu 1280
ns_run 1 ip route replace "$address/32" dev eth0 advmss 1460
check "the probe fails" not probe
check "and names the MTU" grep -q \
    '^FAILED: .*: large packets seem to be lost on the way (MTU) ([0-9]* packets\{0,1\} arrived after a missing one); remedy: compare the MTU' \
    "$WORK/probe"
head -n 1 "$WORK/probe"
check "the server's line names it" within 10 log_has \
    'NFS server: TLS with 10.9.0.1.* failed: large packets seem to be lost on the way \(MTU\) \([0-9]+ bytes are not acknowledged after [0-9]+ retransmissions\); remedy: compare the MTU'

mkdir -p /mnt/mtu
check "the mount does not succeed" not ns_run 1 timeout -k 2 25 \
    mount -t nfs4 -o xprtsec=mtls,retry=0,vers=4.2 "$address:/" /mnt/mtu
check "the client's line names it" within 10 log_has \
    'NFS client in namespace t1: TLS with 10.9.0.254.* failed: large packets seem to be lost on the way \(MTU\) \([0-9]+ packets? arrived after a missing one\); remedy: compare the MTU'

# Without the hole the same mount works.
ns_run 1 ip link set eth0 mtu 1500
check "without the hole the probe works" within 30 probe
daemon_stop
check "the daemon stops" equal "$daemon_status" 0
