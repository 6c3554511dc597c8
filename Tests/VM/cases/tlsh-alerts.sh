# shellcheck shell=bash
# shows: AF_TLSH: close_notify and a fatal alert of the peer's reach the consumer as kTLS delivers them
# guest: qemu qemu-7.2
# check: qemu
# module: tlsh
tlsh_load
daemon_start
tls_mark
rekey_serves openssl 4433 --close --bytes 50000
result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig bytes=200000)
tlsh_end
check "OpenSSL has said close_notify" tlsh_peer_said openssl closed
check "the consumer gets it, as a record of type 21, behind all data" matches "$result" '.* data=-71 carried=[1-9][0-9]* alert=0 .*'
rekey_serves openssl 4433
result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig bytes=50000 poke=1)
tlsh_end
check "a message that breaks the protocol ends the connection at OpenSSL's end" tlsh_peer_said openssl 'ended 1 bad key update'
check "its fatal alert, illegal_parameter, reaches the consumer" \
    matches "$result" '.* data=-71 carried=50000 alert=47 .*'
check "no record failed to decrypt" tls_no_errors
daemon_stop
check "the daemon ends" equal "$daemon_status" 0
tlsh_unload
