# shellcheck shell=bash
# Sourced: private keys on tokens. The tools and the daemon find SoftHSM2's by SOFTHSM2_CONF, where it is exported.

# token_own: a token of the case's own, which every user may use.
token_own() {
    mkdir -p "$WORK/tokens"
    printf '%s\n' "directories.tokendir = $WORK/tokens" "log.level = ERROR" >"$WORK/softhsm2.conf"
    export SOFTHSM2_CONF=$WORK/softhsm2.conf
    token_fill
    chmod -R a+rwX "$WORK/tokens"
}

# token_fill: makes the token "rig" and puts the keys of server and client on it, with their certificates. The PIN is in $WORK/pin.
token_fill() {
    local who number=0
    echo 1234 >"$WORK/pin"
    chmod 600 "$WORK/pin"
    require "a token is made" softhsm2-util --init-token --free --label rig --pin 1234 --so-pin 5678
    for who in server client; do
        number=$((number + 1))
        openssl pkcs8 -topk8 -nocrypt -in "$PKI/$who.key" -out "$WORK/$who.p8"
        require "the key of $who is put on it" softhsm2-util --import "$WORK/$who.p8" --token rig --label $who \
            --id 0$number --pin 1234
        require "its certificate, too" p11tool --login --set-pin 1234 --write --load-certificate "$PKI/$who.pem" \
            --label $who --id 0$number --no-mark-private "pkcs11:token=rig"
        rm "$WORK/$who.p8"
    done
}

# token_settings: $WORK/tlshd.conf with keys and certificates on that token.
token_settings() {
    local role
    for role in client server; do
        printf '%s\n' "[authenticate.$role]" "x509.truststore=$PKI/ca.pem" \
            "x509.certificate=pkcs11:token=rig;object=$role;type=cert" \
            "x509.private_key=pkcs11:token=rig;object=$role;type=private?pin-source=file:$WORK/pin"
    done >"$WORK/tlshd.conf"
}
