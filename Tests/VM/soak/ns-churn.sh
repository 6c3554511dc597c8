# shellcheck shell=bash
# shows: the case ns-churn with 200 network namespaces
# guest: uml
# limit: 3600
# shellcheck disable=SC2034  # read by the case
number=200
# shellcheck source=Tests/VM/cases/ns-churn.sh
. "$lib/../cases/ns-churn.sh"
