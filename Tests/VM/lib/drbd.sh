# shellcheck shell=bash
# Sourced: two nodes that connect as DRBD does, by the module tlsload. Cases that use it say "module: load" in their header.

# drbd_open: the module is there, and a keyring for the nodes' certificates and keys, which the configuration must name.
drbd_open() {
    load_open
    drbd_ring=$(keyctl newring rig-nodes @s)
    require "there is a keyring that its owner may link" keyctl setperm "$drbd_ring" 0x3f3f0000
}

# drbd_node NAME AUTHORITY CARRIED: prints NAME and the serials of a certificate for the name CARRIED, and of its key.
drbd_node() {
    local file=$WORK/node-$1-$2-$3
    echo "subjectAltName=DNS:$3" >"$file.ext"
    {
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$file.key" -out "$file.csr" \
            -subj "/CN=node of $3" &&
            openssl x509 -req -in "$file.csr" -CA "$PKI/$2.pem" -CAkey "$PKI/$2.key" -days 7000 -extfile "$file.ext" \
                -outform DER -out "$file.der" && openssl pkey -in "$file.key" -outform DER -out "$file.key.der"
    } 2>"$file.log" || cat "$file.log" >&2
    echo "$1 $(drbd_key "$file.der") $(drbd_key "$file.key.der")"
}

drbd_key() { # FILE
    local serial
    serial=$(keyctl padd user "rig-${1##*/}" "$drbd_ring" <"$1")
    keyctl setperm "$serial" 0x3f3f0000
    echo "$serial"
}

# drbd_connect NODE NODE: both connections between two nodes, as drbd_node prints them; sets drbd_answer. Of the first the
# first node is the client.
drbd_connect() {
    log_mark
    echo "drbd $1 $2" >/proc/tlsload
    drbd_answer=$(cat /proc/tlsload)
    say "      $1 and $2: $drbd_answer"
}
