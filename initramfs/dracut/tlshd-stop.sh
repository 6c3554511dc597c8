#!/bin/sh
# The kernel keeps the connections; tlshd.service of the real root takes over.
if [ -e /run/tlshd/initramfs.pid ]; then kill "$(cat /run/tlshd/initramfs.pid)"; fi
