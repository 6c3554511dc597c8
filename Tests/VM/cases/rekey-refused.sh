# shellcheck shell=bash
# shows: AF_TLSH key update: refused for a reference that is unknown, stolen or past its time, and after the worker's death; off by default
# guest: memory-7.2
# check: no
# module: tlsh
ask() { # WORD...
    rekey_serves openssl 4433
    result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig bytes=100000 keep=1 update=6 every=40000 "$@")
    tlsh_end
    say "      $result"
}
refused() { [[ $result == "connected=0 submitted=0 status=0 data=-13 "*" updates=0 heard=0 refused=-13" ]]; }
rekey_config
tlsh_load
daemon_start
ask
check "a key update works" rekey_did "$result" 2 2 100000
ask with=forged
check "a reference that nobody handed out is refused" refused
check "for what it is" within 10 log_has "AF_TLSH client: key update with .* failed: the connection's secrets are not kept, or no longer \(not a reference"
ask with=stolen
check "so is that of another connection" refused
check "for what it is too" within 10 log_has 'AF_TLSH client: key update with .* failed: the reference belongs to another connection'
log_mark
rekey_serves openssl 4433
tlsh_start slow connect 127.0.0.1 4433 type=0 peername=server.rig bytes=100000 keep=1 update=6 every=40000 pause=5000
check "a connection begins" within 10 log_has 'AF_TLSH client: TLS with server.rig .* is up'
pkill -KILL tlshd-worker
tlsh_end
result=$(cat "$WORK/slow")
check "with the worker its secrets are gone" refused
check "the log says so" within 10 log_has "AF_TLSH client: key update with .* failed: the connection's secrets are not kept, or no longer \(no such session, or it has expired"
daemon_stop
sed -i 's/^key_update_lifetime=.*/key_update_lifetime=6/' "$WORK/tlshd.conf"
daemon_start
ask pause=6600
check "so is one past its time" refused
check "and the log names the setting" within 10 log_has "AF_TLSH client: key update with .* failed: the connection's secrets are not kept, or no longer \(.*it has expired, \[listener\] key_update_lifetime"
daemon_stop
rekey_lifetime=0
daemon_config
printf '%s\n' "[listener]" "family=18" "level=287" >>"$WORK/tlshd.conf"
daemon_start
ask with=stolen
check "off, as by default, nothing is updated" refused
check "and the log says how to turn it on" within 10 log_has 'AF_TLSH client: key update with .* failed: key updates are not served .*key_update_lifetime is 0'
ask
check "by default no reference is given" matches "$result" '.* session=0 .*'
check "and an update is refused" matches "$result" '.* refused=-13'
daemon_stop
check "the daemon ends" equal "$daemon_status" 0
tlsh_unload
