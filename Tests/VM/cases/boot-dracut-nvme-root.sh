# shellcheck shell=bash
# shows: the same from a namespace over NVMe/TCP with TLS
# guest: dracut-nvme
# limit: 240
boot_nvme
