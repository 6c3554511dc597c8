# shellcheck shell=bash
# shows: a machine without a disk boots from an initramfs that dracut makes with the package's module; its root is an export
# guest: dracut
# check: no
boot_nfs
