#!/bin/bash
# Runs directive tests of relinks: run_relinks.sh RELINK_TOOL COLD_LD TEST...   (see run_tests.sh)
RELINK_TOOL=$(readlink -f "$1") COLD_LD=$(readlink -f "$2")
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
DIRECTIVES=$(readlink -f "$here/relink_steps.sh")
export RELINK_TOOL COLD_LD DIRECTIVES
shift 2
exec "$here/run_tests.sh" "$here/session_ld.sh" "$@"
