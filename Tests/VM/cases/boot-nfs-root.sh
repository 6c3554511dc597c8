# shellcheck shell=bash
# shows: a machine without a disk boots from an initramfs made by the package; its root is an export of this one over mutual TLS
# guest: diskless
# check: no
boot_nfs
