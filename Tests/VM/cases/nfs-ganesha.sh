# shellcheck shell=bash
# shows: NFS-Ganesha, a server in user space whose TLS is OpenSSL's, serves mounts with tls and mtls, and refuses the client that shows no certificate
# guest: ganesha
# check: no

# ganesha_start XPRTSEC: serves an export in memory, until ganesha_stop.
ganesha_start() {
    cat >"$WORK/ganesha.conf" <<CONFIG
NFS_CORE_PARAM { Protocols = 4; Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false; allow_set_io_flusher_fail = true; }
MEM { Inode_Size = 2097152; }
NFSv4 { Graceless = true; RecoveryBackend = fs; }
TLS_CONFIG { Enable_TLS = true; TLS_CA_File = $PKI/ca.pem; TLS_Cert_File = $PKI/server.pem; TLS_Key_File = $PKI/server.key; }
EXPORT {
    Export_Id = 1; Path = /memory; Pseudo = /; Protocols = 4; Transports = TCP;
    Access_Type = RW; Squash = No_Root_Squash; SecType = sys; XprtSec = $1;
    FSAL { Name = MEM; }
}
CONFIG
    mkdir -p /var/lib/nfs/ganesha /var/run/ganesha
    ganesha.nfsd -F -f "$WORK/ganesha.conf" -L "$WORK/ganesha.log" -p "$WORK/ganesha.pid" -N NIV_EVENT >"$WORK/ganesha.out" 2>&1 &
    within $((20 + 60 * RIG_SLOW)) grep -qs "NFS SERVER INITIALIZED" "$WORK/ganesha.log"
}

ganesha_stop() {
    pkill -KILL -x ganesha.nfsd
    require "the server ends" within 10 not pgrep -x ganesha.nfsd
    rm -f "$WORK/ganesha.log"
}

modprobe nfsv4
daemon_start
pgrep -x rpcbind >/dev/null || rpcbind -w
require "the server with an export of mtls starts" ganesha_start mtls
tls_mark
check "mount with xprtsec=mtls" nfs_mount mtls
head -c 1000000 /dev/urandom >"$WORK/sent"
check "write" cp "$WORK/sent" $MOUNT/sent
check "unmount" nfs_unmount
check "mount again" nfs_mount mtls
check "what was written is there" cmp "$WORK/sent" $MOUNT/sent
check "unmount" nfs_unmount
check "kTLS keyed the client's end" tls_rose 2
check "no record failed to decrypt" tls_no_errors
check "each client's line says so" within 10 log_reached 2 'NFS client: TLS with server.rig .* is up: x509, .*peer CN=server,'
check "the server has seen the certificate" grep -q "TLS connection established .*mtls:1" "$WORK/ganesha.log"
check "mount with xprtsec=tls of the export of mtls is refused" not nfs_mount tls
check "mount without TLS is refused" not nfs_mount none
ganesha_stop
require "the server with an export of tls starts" ganesha_start tls
check "mount with xprtsec=tls" nfs_mount tls
check "unmount" nfs_unmount
check "the client's line says so" within 10 log_reached 2 'NFS client: TLS with server.rig .* is up: anonymous client, .*peer CN=server,'
ganesha_stop
