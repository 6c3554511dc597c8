# shellcheck shell=bash
# shows: connect works when the daemon was started before the NVMe modules, without a reload
# guest: qemu qemu-7.2
# check: qemu
subsystem=nqn.2026-01.rig:sub
require "the keyring .nvme does not exist" within 15 nvme_modules_gone
daemon_start
nvme_modules
require "now it does" test -n "$(nvme_keyring .nvme)"
nvme_key $subsystem
nvme_target $subsystem
nvme_works $subsystem disk-1 1
check "disconnect" nvme_disconnect $subsystem
