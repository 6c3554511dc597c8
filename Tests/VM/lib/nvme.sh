# shellcheck shell=bash
# Sourced: NVMe/TCP target and host in one guest.
