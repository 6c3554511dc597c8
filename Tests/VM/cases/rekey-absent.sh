# shellcheck shell=bash
# shows: AF_TLSH key update: a kernel whose TLS cannot replace keys is told of at start, and no secret is kept for it
# guest: qemu
# module: tlsh
rekey_config
tlsh_load
daemon_start
check "the log says that the setting has no effect" grep -q "has no effect: this kernel's TLS cannot replace keys" "$DAEMON_LOG"
rekey_serves openssl 4433 --suite TLS_AES_128_GCM_SHA256
result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig bytes=100000 keep=1)
tlsh_end
check "a handshake works, and gives no reference" matches "$result" '.* status=0 data=0 carried=100000 .* session=0 .*'
daemon_stop
check "the daemon ends" equal "$daemon_status" 0
tlsh_unload
