# shellcheck shell=bash
# shows: AF_TLSH key update: we begin it, as client, with every suite of kTLS; what goes both ways is the same before and after
# guest: memory-7.2
# check: no
# module: tlsh
rekey_config
tlsh_load
daemon_start
tls_mark
rekeyed=$(tls_count TlsTxRekeyOk)
for suite in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256 TLS_AES_128_CCM_SHA256; do
    rekey_serves openssl 4433 --suite $suite
    # Bits 2 and 4: ours, and the peer is asked for its own.
    result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig bytes=200000 keep=1 update=6 every=45000)
    tlsh_end
    check "$suite: four updates in both directions, and all bytes as they were" rekey_did "$result" 4 4
    check "OpenSSL was asked each time" equal "$(rekey_count openssl 'received key update 1')" 4
    check "and answered each time" equal "$(rekey_count openssl 'sent key update 0')" 4
    check "under that suite" tlsh_peer_said openssl "suite $suite"
done
rekey_serves openssl 4433
result=$(tlsh_ask connect 127.0.0.1 4433 type=0 peername=server.rig bytes=200000 keep=1 update=2 every=45000)
tlsh_end
check "our direction alone" rekey_did "$result" 4 0
check "OpenSSL is told, and not asked" equal "$(rekey_count openssl 'received key update 0')" 4
check "the kernel counts them" equal $(($(tls_count TlsTxRekeyOk) - rekeyed)) 20
check "the log has them" within 10 log_has "AF_TLSH client: TLS with server.rig .* has new keys: ours, asking for the peer's, TLS_AES_128_CCM_SHA256"
check "no record failed to decrypt" tls_no_errors
daemon_stop
check "the daemon ends" equal "$daemon_status" 0
tlsh_unload
