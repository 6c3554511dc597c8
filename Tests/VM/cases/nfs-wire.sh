# shellcheck shell=bash
# shows: no byte of the known data is in a packet capture of NFS over TLS (and it is in one of NFS without)
# guest: uml
marker=KNOWN-DATA-$RANDOM-$RANDOM-NEVER-IN-CLEAR

# crosses XPRTSEC FILE: captures while the marker's file is read and written through a mount.
crosses() {
    capture_start "$2" 2049
    check "mount with xprtsec=$1" nfs_mount "$1"
    check "the file is read" cmp "$EXPORT/marked" "$MOUNT/marked"
    check "the file is written" cp "$WORK/marked" "$MOUNT/written"
    check "unmount" nfs_unmount
    check "it arrived" cmp "$WORK/marked" "$EXPORT/written"
    capture_stop
    check "the capture is whole" capture_complete
    check "and holds as much as was sent" test "$(capture_bytes)" -gt 2000000
}

daemon_start
nfs_export none:tls:mtls
yes "$marker" | head -c 1000000 >"$WORK/marked"
cp "$WORK/marked" "$EXPORT/marked"

crosses none "$WORK/plain.pcap"
check "the search finds the data where it is in clear" capture_has "$marker"
check "and the client's name for itself, which its first request holds" capture_has "Linux NFSv4"
for sec in tls mtls; do
    tls_mark
    crosses $sec "$WORK/$sec.pcap"
    check "kTLS keyed both ends" tls_rose 2
    check "no marker in the capture of $sec" not capture_has "$marker"
    check "no part of it either" not capture_has KNOWN-DATA
    check "nor the client's name for itself" not capture_has "Linux NFSv4"
done
