# shellcheck shell=bash
# shows: two subsystems, the name of one the beginning of the other's: each connects with its own PSK
# guest: qemu
# Identities without a digest: one is the beginning of the other, and the kernel's key search matches beginnings. The
# host's own search does so too, hence its keys by number; nvme-cli as well, hence the short one is made first.
short=nqn.2026-01.rig:sub
long=nqn.2026-01.rig:sub-and-more
nvme_modules
daemon_start
nvme_key $short 1 0
nvme_key $long 1 0
nvme_target $short $long
short_key=$(nvme_key_serial "NVMe0R01 $NVME_HOST $short")
long_key=$(nvme_key_serial "NVMe0R01 $NVME_HOST $long")
require "there are two keys" test "$short_key" != "$long_key" -a -n "$short_key" -a -n "$long_key"
nvme_works $short disk-1 1 --tls_key="$short_key"
nvme_works $long disk-2 1 --tls_key="$long_key"
check "disconnect" nvme_disconnect $short
check "disconnect" nvme_disconnect $long
