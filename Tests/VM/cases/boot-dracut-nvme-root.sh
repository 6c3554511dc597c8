# shellcheck shell=bash
# shows: the same from a namespace over NVMe/TCP with TLS
# guest: dracut-nvme
# check: no
boot_nvme
