# shellcheck shell=bash
# shows: an unknown PSK identity and a wrong PSK are refused at once, each with its errno and reason
# guest: qemu qemu-7.2
# check: qemu-7.2
subsystem=nqn.2026-01.rig:sub
nvme_modules
nvme_host_ring
daemon_start
nvme_target $subsystem

# The host's key is in a keyring of its own, so that the target's can lack it or hold another.
nvme_raw_key "$host_ring" $subsystem
ring=keyring=$host_ring
tls_mark
tcp_mark
check "a PSK that the target does not know is refused" not nvme_connect_raw $subsystem "$ring"
check "with EKEYREJECTED (was $connect_errno)" equal "$connect_errno" "Key was rejected by service"
check "at once, not by a timer (took $connect_ms ms)" at_most "$connect_ms" 7000
check "the target's line tells that the identity is unknown" within 10 log_has \
    'NVMe target: TLS with 127.0.0.1:[0-9]+ failed: no PSK is known for the identity that the peer offered; .*sent alert unknown_psk_identity'
check "the host's that the target knows none" within 10 log_has \
    'NVMe host: TLS with 127.0.0.1:4420 failed: the peer knows no PSK for our identity .*kernel told EKEYREJECTED'
check "the controller is gone" equal "$(nvme_controllers)" 0

log_mark
nvme_raw_key .nvme $subsystem
check "another PSK under the same identity is refused" not nvme_connect_raw $subsystem "$ring"
check "with EACCES (was $connect_errno)" equal "$connect_errno" "Permission denied"
check "at once, not by a timer (took $connect_ms ms)" at_most "$connect_ms" 7000
check "the target's line tells that the keys differ" within 10 log_has \
    'NVMe target: TLS with 127.0.0.1:[0-9]+ failed: the peer holds another PSK under the same identity.*sent alert decrypt_error'
check "the host's as well" within 10 log_has \
    'NVMe host: TLS with 127.0.0.1:4420 failed: the peer holds another PSK under the same identity.*kernel told EACCES'
check "the controller is gone" equal "$(nvme_controllers)" 0
check "no TLS session was made" tls_unmoved
check "no connection was reset by a close" tcp_no_abort
