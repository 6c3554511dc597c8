# shellcheck shell=bash
# shows: AF_TLSH key update: the peer begins it, asking for ours or not, as our server and as our client; both at once
# guest: qemu-7.2
# module: tlsh
rekey_config
tlsh_load
daemon_start
tls_mark
for update in plain request; do
    rekey_serves openssl 4433 --update $update --every 50000
    result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig bytes=200000 keep=1)
    tlsh_end
    check "OpenSSL as server updates four times ($update), and all bytes are as they were" rekey_did "$result" 0 4
    answers=0
    [ $update = plain ] || answers=4
    check "it had as many answers as it asked for" equal "$(rekey_count openssl 'received key update 0')" $answers
    tlsh_start server listen 127.0.0.1 4434 type=3 bytes=200000 keep=1
    rekey_peer openssl connect 4434 --certificate client --update $update --every 50000
    tlsh_end
    check "OpenSSL as client does ($update)" rekey_did "$(cat "$WORK/server")" 0 4
    check "and gets its bytes back as they were" tlsh_peer_said openssl 'equal 200000'
done
tlsh_start server listen 127.0.0.1 4434 type=3 bytes=200000 keep=1 update=6 every=50000
rekey_peer openssl connect 4434 --certificate client --update request --every 30000
tlsh_end
check "both ends update, each asking the other" tlsh_carried "$(cat "$WORK/server")" 200000
check "and the bytes are as they were" tlsh_peer_said openssl 'equal 200000'
check "no record failed to decrypt" tls_no_errors
rekey_serves openssl 4433 --update plain --every 50000
result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig bytes=200000)
tlsh_end
check "a consumer that asked for no reference meets EKEYEXPIRED" matches "$result" '.* data=-127 .*'
daemon_stop
check "the daemon ends" equal "$daemon_status" 0
tlsh_unload
