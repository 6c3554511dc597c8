# shellcheck shell=bash
# shows: the hardened service writes its figures for node_exporter with the drop-in file alone; what hinders it is said once, and it serves
# guest: systemd
# check: no
folder=/var/lib/prometheus/node-exporter
file=$folder/tlshd.prom
figure() { grep -qE "^$1 [1-9]" $file; }
# start: service_start, but what is said before it serves counts, too.
start() {
    service_follow
    log_mark
    require "systemctl start" systemctl restart tlshd.service
}
install_dropin() { service_dropin metrics </usr/share/doc/tlshd/examples/metrics.conf; }

service_install
printf '[metrics]\ntextfile=%s\n' $file >>/etc/tlshd/config
nfs_export mtls

# No folder, and a unit that may not write.
install_dropin
start
check "a missing folder is told with its remedy" within 10 log_has 'figures cannot be written: .*ENOENT.*; remedy: make the folder'
rm /etc/systemd/system/tlshd.service.d/metrics.conf
systemctl daemon-reload
mkdir -p $folder
start
check "a unit that may not write there, too" within 10 log_has 'figures cannot be written: .*EROFS.*; remedy: allow the unit to write there'
check "tlshctl status says so" matches "$(tlshctl status | head -1)" 'WARNING: figures cannot be written: .*'
nfs_works mtls
check "it is said once" not within 6 log_reached 2 'figures cannot be written'

# As it should be.
install_dropin
start
check "with the drop-in file it is written" within 10 test -s $file
check "to be read by everybody" equal "$(stat -c '%a %U' $file)" '644 root'
check "without a word" not log_has 'figures cannot be written'
nfs_works mtls
check "a handshake is in it soon" within 10 figure 'tlshd_handshakes_total\{consumer="NFS client",result="success",reason="none"\}'
check "certificates with their end" figure 'tlshd_certificate_not_after_timestamp_seconds\{profile="default",role="client",file="[^"]*",subject="CN=client"\}'
check "all is well" figure tlshd_workers_ready
check "in the format that node_exporter reads" not grep -qE '^# (UNIT|EOF|TYPE [a-z_]* info)' $file
before=$(stat -c %i $file)
newer() { [ "$(stat -c %i $file)" != "$before" ]; }
check "it is written again though nothing happens" within 20 newer
check "by a new process after a restart" systemctl restart tlshd.service
check "which counts anew" within 10 not figure 'tlshd_handshakes_total.*'
check "nothing else is left in the folder" equal "$(ls -A $folder)" tlshd.prom
