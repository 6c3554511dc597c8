# shellcheck shell=bash
# shows: the same from a namespace over NVMe/TCP with TLS; then the root's own tlshd makes the connection anew
# guest: diskless-nvme
# check: no
boot_nvme
