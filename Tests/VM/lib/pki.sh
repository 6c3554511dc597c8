#!/usr/bin/env bash
# pki.sh FOLDER: makes the certificates of the VM cases, ECDSA P-256 throughout.
#   ca, other-ca            two authorities that know nothing of each other
#   server, client          good leaves of ca
#   WHO-old                 has expired
#   WHO-new                 is not yet valid
#   WHO-gone                is revoked by ca.crl
#   WHO-alien               is signed by other-ca
#   server-other            is for another name and address
# Each NAME has NAME.pem (the certificate) and NAME.key. No name is a word that a log line would give as the reason.
set -euo pipefail
mkdir -p "$1"
cd "$1"

server_names="DNS:server.rig,DNS:server6.rig,DNS:localhost,IP:127.0.0.1,IP:::1"
client_names="DNS:client.rig,IP:127.0.0.1,IP:::1"
long_ago=20200101000000Z
far_ahead=20991231235959Z

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" && chmod 600 "$1.key"; }

authority() { # NAME
    key "$1"
    mkdir "$1.db"
    touch "$1.db/index"
    cat >"$1.db/config" <<CONFIG
[ca]
default_ca = this
[this]
database = $1.db/index
new_certs_dir = $1.db
certificate = $1.pem
private_key = $1.key
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
default_crl_days = 20000
[any]
commonName = supplied
CONFIG
    openssl req -x509 -new -key "$1.key" -subj "/CN=rig $1" -days 20000 -out "$1.pem" \
        -addext keyUsage=critical,keyCertSign,cRLSign
}

leaf() { # NAME AUTHORITY USAGE SUBJECT-ALTERNATIVE-NAMES [NOT-BEFORE NOT-AFTER]
    key "$1"
    printf '%s\n' "subjectAltName=$4" "extendedKeyUsage=$3" keyUsage=digitalSignature \
        basicConstraints=critical,CA:FALSE >"$1.ext"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    openssl ca -batch -notext -config "$2.db/config" -extfile "$1.ext" -in "$1.csr" -out "$1.pem" \
        -startdate "${5:-$long_ago}" -enddate "${6:-$far_ahead}"
    rm "$1.csr" "$1.ext"
}

authority ca
authority other-ca
for who in server client; do
    usage=${who}Auth names=${who}_names
    leaf "$who" ca "$usage" "${!names}"
    leaf "$who-old" ca "$usage" "${!names}" $long_ago 20210101000000Z
    leaf "$who-new" ca "$usage" "${!names}" 20980101000000Z $far_ahead
    leaf "$who-gone" ca "$usage" "${!names}"
    leaf "$who-alien" other-ca "$usage" "${!names}"
    openssl ca -config ca.db/config -revoke "$who-gone.pem"
done
leaf server-other ca serverAuth "DNS:elsewhere.rig,IP:192.0.2.1"
openssl ca -config ca.db/config -gencrl -out ca.crl
rm -r ca.db other-ca.db
