# shellcheck shell=bash
# shows: AF_TLSH: tlshd on both ends, with certificates and with PSKs, over IPv4 and over IPv6
# guest: qemu
# module: tlsh
tlsh_psk rig-identity
tlsh_load
daemon_start
tls_mark
port=4440
for host in 127.0.0.1 ::1; do
    for word in "3 type=0 peername=$host" "3 type=2 peername=$host" "4 type=1 peerid=$psk_serial"; do
        port=$((port + 1))
        tlsh_start server listen $host $port "type=${word%% *}"
        check "client, $host, ${word#* }" tlsh_carried "$(tlsh_ask connect $host $port "${word#* }")"
        tlsh_end
        check "server" tlsh_carried "$(cat "$WORK/server")"
    done
done
check "kTLS keyed both ends of all six" tls_rose 12
check "no record failed to decrypt" tls_no_errors
daemon_stop
check "the daemon ends" equal "$daemon_status" 0
tlsh_unload
