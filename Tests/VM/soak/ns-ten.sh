# shellcheck shell=bash
# shows: the case ns-ten, in which each of the ten namespaces reaches all others
# guest: qemu
# limit: 3600
# module: tlsh
# shellcheck disable=SC2034  # read by the case
distances="1 2 3 4 5 6 7 8 9"
# shellcheck source=Tests/VM/cases/ns-ten.sh
. "$lib/../cases/ns-ten.sh"
