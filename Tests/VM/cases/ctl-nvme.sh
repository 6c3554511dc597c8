# shellcheck shell=bash
# shows: tlshctl makes, imports, shows and revokes NVMe keys, and probes a target: with its key, another, none, and without TLS
# guest: qemu qemu-sid
# check: qemu
subsystem=nqn.2026-01.rig:sub
names=(--hostnqn "$NVME_HOST" --subsysnqn "$subsystem")
probe() { ctl_says "$1" "$2" probe nvme://127.0.0.1 -c "$WORK/tlshd.conf" "${names[@]}" "${@:3}"; }

# The unit tests have the whole of these documents; a keyring of PSKs is here alone.
stored_in_json() {
    ctl "$@" --json
    python3 -c 'import json, re, sys
data = json.load(sys.stdin)["data"]
data = data["inserted"][0] if "inserted" in data else data
sys.exit(data["keyring"] != ".nvme" or not re.fullmatch("0x[0-9a-f]+", data["serial"]))' <<<"$ctl_text"
}

require "the keyring .nvme does not exist" within 15 nvme_modules_gone
daemon_config
check "a host without the modules has no keyring" ctl_says 0 '' check -c "$WORK/tlshd.conf" --only keys
check "and says so" grep -q 'there is no keyring .nvme' <<<"$ctl_text"
nvme_modules
daemon_start
check "no key, no offer" ctl_says 1 '^FAILED: keyring .nvme holds no PSK of host' keys offer "${names[@]}"

"$RIG_DAEMON/tlshctl" keys make -o "$WORK/key"
require "a key is made" test -s "$WORK/key"
# Newer nvme-cli derives by the specification, and with --compat as before.
legacy=(--legacy)
if nvme check-tls-key --help 2>&1 | grep -q -- --compat; then legacy=(); fi
"$RIG_DAEMON/tlshctl" keys import "$WORK/key" "${names[@]}" "${legacy[@]}" --psk-file "$WORK/psk" >/dev/null
identity=$(sed 's/:[0-9a-f]*$//' "$WORK/psk")
nvme_quiet check-tls-key --identity=1 --hostnqn="$NVME_HOST" --subsysnqn="$subsystem" --keydata="$(cat "$WORK/key")" \
    --insert
ring=$(nvme_keyring .nvme)
keyctl link "$ring" @s
theirs=$(nvme_key_serial "$identity")
require "nvme-cli makes the same identity of it" test -n "$theirs"
check "and the same key" equal "$(keyctl pipe "$theirs" | od -An -tx1 | tr -d ' \n')" "$(sed 's/.*://' "$WORK/psk")"
keyctl unlink "$theirs" "$ring"
keyctl unlink "$ring" @s

check "the key is imported" ctl_says 0 "^NVMe1R01 $NVME_HOST $subsystem .* is in keyring .nvme" \
    keys import "$WORK/key" "${names[@]}"
check "again, with its serial number in JSON" stored_in_json keys insert "$WORK/key" "${names[@]}"
check "it would be offered" ctl_says 0 "^NVMe1R01 $NVME_HOST $subsystem [A-Za-z0-9+/=]* " keys offer "${names[@]}"
offered=${ctl_line%% (*}
check "and is listed" ctl_says 0 '^1 PSK in .nvme' keys
check "its bytes are not" not grep -q "$(cut -d: -f3 "$WORK/key" | head -c 20)" <<<"$ctl_text"
ring=$(nvme_keyring .nvme)
keyctl link "$ring" @s
digest=$(keyctl pipe "$(nvme_key_serial "$offered")" | sha256sum | head -c 16)
keyctl unlink "$ring" @s
check "with the digest that sha256sum prints" ctl_says 0 '^1 PSK in .nvme' keys list --digest
check "of its bytes" grep -q " $digest  *NVMe1R01 " <<<"$ctl_text"
nvme_target $subsystem
nvme_works $subsystem disk-1 1
check "disconnect" nvme_disconnect $subsystem

check "the target with its key" probe 0 '^ok: TLS with nvme://127.0.0.1:4420 .* works: PSK, TLS_AES_128_GCM_SHA256'
(umask 077 && echo "$offered:$(openssl rand -hex 32)" >"$WORK/psk")
check "another key under the same identity" probe 1 '^FAILED: .*the peer holds another PSK under the same identity' --psk-file "$WORK/psk"
(umask 077 && echo "# none" >"$WORK/psk")
check "no key, but TLS" probe 1 '^FAILED: .*holds no PSK of host .*; the peer speaks TLS' --psk-file "$WORK/psk"

require "a port without TLS" nvme_target_plain $subsystem
check "the target without TLS" probe 1 '^FAILED: .*the peer speaks plain text'

check "the key is revoked" ctl_says 0 "^NVMe1R01 .* is revoked and removed from keyring .nvme \(key 0x" keys revoke --identity "$offered"
check "and gone" test -z "$(nvme_key_serial "$offered")"
check "and not offered" ctl_says 1 '^FAILED: keyring .nvme holds no PSK of host' keys offer "${names[@]}"
check "nor revoked again" ctl_says 1 '' keys revoke --identity "$offered"
check "which says why" grep -q 'has no PSK with the identity' <<<"$ctl_text"
check "a key that is made is inserted" stored_in_json keys gen-tls "${names[@]}" --insert
identity=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["identity"])' <<<"$ctl_text")
check "under its identity" test -n "$(nvme_key_serial "$identity")"
check "and revoked, with its serial number in JSON" stored_in_json keys revoke --identity "$identity"
