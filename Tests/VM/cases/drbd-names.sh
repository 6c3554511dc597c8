# shellcheck shell=bash
# shows: a kernel that names the peer in both roles, as DRBD does: only that peer gets in, on the server's side as well
# guest: qemu
# module: load
drbd_open
# The configured certificates would be refused.
daemon_config client=client-alien server=server-alien keyrings=rig-nodes
daemon_start
one=$(drbd_node one.rig ca one.rig)
two=$(drbd_node two.rig ca two.rig)
false_two=$(drbd_node two.rig ca three.rig)
alien_two=$(drbd_node two.rig other-ca two.rig)

tls_mark
drbd_connect "$one" "$two"
check "both connections are up and carry data" equal "$drbd_answer" "client=0 server=0 other_client=0 other_server=0 carried=2"
check "kTLS keyed all four ends" tls_rose 4
check "the servers are not called NFS servers" within 10 log_reached 2 'TLS server: TLS with (one|two).rig .* is up: .*peer CN=node of'
check "and no line speaks of one" not log_has 'NFS server'

# A client has finished before the server has judged, so that it may hear of a refusal by its first read only.
refused='client=-13 server=-13 other_client=(0|-13) other_server=-13 carried=0'
drbd_connect "$one" "$false_two"
check "a node with another's name is refused as server and as client" matches "$drbd_answer" "$refused"
check "the server says so" within 10 log_has \
    'TLS server: TLS with two.rig .* failed: .*for another name \(wanted two.rig; CN=node of three.rig carries DNS:three.rig\).*kernel told EACCES, sent alert bad_certificate'
check "the client says so" within 10 log_has 'NFS client: TLS with two.rig .* failed: .*for another name'

drbd_connect "$one" "two.rig 0 0"
check "a node without a certificate is refused as well" matches "$drbd_answer" "$refused"
check "the server says so, and which alert the client got" within 10 log_has \
    'TLS server: TLS with two.rig .* failed: .*presented no certificate \(the kernel says which peer it expects\).*kernel told EACCES, sent alert certificate_required'

drbd_connect "$one" "$alien_two"
check "a node of another authority is refused, whatever name it has" matches "$drbd_answer" "$refused"
drbd_connect "$one" "$two"
check "the right ones still get in" equal "$drbd_answer" "client=0 server=0 other_client=0 other_server=0 carried=2"
daemon_stop
check "the module unloads" within 10 rmmod tlsload
