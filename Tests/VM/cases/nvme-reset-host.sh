# shellcheck shell=bash
# shows: an NVMe target that resets the connection in the handshake: nvme connect fails within a second
# guest: qemu
subsystem=nqn.2026-01.rig:sub
nvme_modules
daemon_start
nvme_key $subsystem
fake_listen "$NVME_PORT" reset --after 2
check "nvme connect fails" not nvme_connect_raw $subsystem
fake_show
delay=$((connect_end - $(fake_when reset)))
check "within a second of the reset (was $delay ms)" at_most "$delay" 1000
check "with ETIMEDOUT, which lets a host try again (was $connect_errno)" equal "$connect_errno" "Connection timed out"
check "a line tells so" log_has 'reset|closed|terminated|gone|fail'
