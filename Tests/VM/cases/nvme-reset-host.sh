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
# The handshake's own duration, told by the daemon, since a translated guest's shell is slow: the peer resets after 2 s.
took=$(log_since | sed -n 's/.* failed: .*, \([0-9]*\) ms$/\1/p' | head -1)
check "within a second of the reset (the handshake took $took ms)" at_most "${took:-99999}" 3000
check "with ETIMEDOUT, which lets a host try again (was $connect_errno)" equal "$connect_errno" "Connection timed out"
check "a line tells so" log_has 'reset|closed|terminated|gone|fail'
