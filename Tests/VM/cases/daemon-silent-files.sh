# shellcheck shell=bash
# shows: a trust store on an NFS mount whose server stops: log and status name it, all else is served, a restart too
# guest: qemu
# check: no
# limit: 900
subsystem=nqn.2026-01.rig:sub
files=/mnt/files
cut_off() { ip link set rig1 down; }
reach() { ip link set rig1 up; }
same_daemon() { [ "$daemon_pid" = "$first_pid" ] && daemon_alive; }
status_names_it() { ctl status; [[ $ctl_text == *"$files/ca.pem does not answer"* ]]; }
mounts() { nfs_mount tls && nfs_unmount; }

# First: later its services would be taken for the other host's.
nfs_export tls
ns_make 1
ns_serve 1 none
mkdir -p $files
require "a plain mount of another host" mount -t nfs4 -o hard,xprtsec=none,vers=4.2,retry=0,actimeo=1 10.9.0.1:/ $files
cp "$PKI/ca.pem" $files/ca.pem
daemon_config
sed -i "/authenticate.client/,/authenticate.server/s|$PKI/ca.pem|$files/ca.pem|" "$WORK/tlshd.conf"
nvme_modules
daemon_start
first_pid=$daemon_pid
nvme_key $subsystem
nvme_target $subsystem
nfs_works tls

log_mark
cut_off
# A second until it is looked at, one until the kernel asks the server, three until it is said.
check "the log names the file" within 8 log_has "client credentials: $files/ca.pem does not answer: .* the former ones stay in force"
check "so does the status" status_names_it
nfs_works tls
nvme_works $subsystem disk-1 1
check "disconnect" nvme_disconnect $subsystem
cp "$PKI/server.pem" "$WORK/server.pem"
sed -i "s|$PKI/server.pem|$WORK/server.pem|" "$WORK/tlshd.conf"
check "changed settings are used" within 15 log_has 'server credentials: trusts'
check "it is the same daemon" same_daemon

begin=$(now_ms)
daemon_stop
check "a stop does not wait for the file" equal "$daemon_status" 0
took=$(($(now_ms) - begin))
check "nor long (took $took ms)" at_most $took 10000
begin=$(now_ms)
daemon_start
took=$(($(now_ms) - begin))
check "a start does not wait for it either (took $took ms)" at_most $took 20000
nvme_works $subsystem disk-1 1
check "disconnect" nvme_disconnect $subsystem
check "a mount that needs the file fails" not nfs_mount tls
check "with its name" within 10 log_has "NFS client: TLS with server.rig .* failed: .*$files/ca.pem does not answer"

reach
check "the server is back: it is said" within 90 log_has "$files/ca.pem answers again"
check "and the file is used" within 30 mounts
check "unmount the files" umount $files
