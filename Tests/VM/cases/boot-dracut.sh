# shellcheck shell=bash
# shows: the same from an initramfs that dracut makes with the package's module
# guest: diskless-dracut
# limit: 240
boot_nfs
