# shellcheck shell=bash
# shows: PSKs from a file in the settings: there when the modules come, back when they come again, gone with their line
# guest: qemu
subsystem=nqn.2026-01.rig:sub
identity="NVMe0R01 $NVME_HOST $subsystem"
key_there() { [ -n "$(nvme_key_serial "$identity")" ]; }
write_keys() { (umask 077 && printf '%s\n' "$@" >"$WORK/keys.new" && mv "$WORK/keys.new" "$WORK/keys"); }

require "the keyring .nvme does not exist" within 15 nvme_modules_gone
write_keys "$identity:$(openssl rand -hex 32)"
daemon_config psk_file="$WORK/keys"
daemon_start
nvme_modules
check "the key is in .nvme soon after the modules are" within 10 key_there
nvme_target $subsystem
nvme_works $subsystem disk-1 1
check "disconnect" nvme_disconnect $subsystem

nvme_remove
require "the modules are unloaded" within 15 nvme_modules_gone
nvme_modules
check "the key is back when they are" within 10 key_there
write_keys "# empty"
check "and gone when its line is" within 10 not key_there

# The keys of a host that has used nvme-cli: its file, with the PSK that it has derived.
ring=$(nvme_keyring .nvme)
bytes() { keyctl link "$ring" @s && keyctl pipe "$(nvme_key_serial "$identity")" | sha256sum && keyctl unlink "$ring" @s; }
require "nvme-cli writes a key file" nvme_quiet gen-tls-key --hmac=1 --identity=1 --subsysnqn=$subsystem \
    --hostnqn="$NVME_HOST" --insert --keyfile="$WORK/tls-keys"
identity=$(sed 's/ NVMeTLSkey-.*//' "$WORK/tls-keys")
theirs=$(bytes)
keyctl link "$ring" @s
keyctl unlink "$(nvme_key_serial "$identity")" "$ring"
keyctl unlink "$ring" @s
require "its key is out of the keyring" not key_there
write_keys "$(cat "$WORK/tls-keys")"
require "the file as psk.file puts the key back" within 10 key_there
check "with the same bytes" equal "$(bytes)" "$theirs"
nvme_target $subsystem
nvme_works $subsystem disk-1 1
