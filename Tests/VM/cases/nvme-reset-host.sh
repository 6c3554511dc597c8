# shellcheck shell=bash
# shows: an NVMe target that resets the connection in the handshake: nvme connect fails at once
# guest: qemu
subsystem=nqn.2026-01.rig:sub
nvme_modules
daemon_start
nvme_key $subsystem
fake_listen "$NVME_PORT" reset --after 2
check "nvme connect fails" not nvme_connect_raw $subsystem
fake_show
delay=$((connect_end - $(fake_when reset)))
# The kernel waits 10 s for a handshake.
check "at once with the reset (was $delay ms)" at_most "$delay" 5000
check "with ETIMEDOUT, which lets a host try again (was $connect_errno)" equal "$connect_errno" "Connection timed out"
check "a line tells so" within 10 log_has 'NVMe host: TLS with 127.0.0.1:4420 failed: the connection broke '
