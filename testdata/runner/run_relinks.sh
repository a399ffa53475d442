#!/bin/bash
# Runs directive tests of relinks: run_relinks.sh [--moves=POLICY,...] RELINK_TOOL COLD_LD TEST...   (see run_tests.sh)
# With --moves each test is run for each of the policies, but for the links that say --move= themselves.
MOVES=
case $1 in --moves=*) MOVES=${1#--moves=} MOVES=${MOVES//,/ }; shift ;; esac
RELINK_TOOL=$(readlink -f "$1") COLD_LD=$(readlink -f "$2")
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# As a test it is found under the name of its target; the other scripts are where they are in the source tree.
[ -e "$here/relink_steps.sh" ] || here=$PWD/testdata/runner
DIRECTIVES=$(readlink -f "$here/relink_steps.sh")
export RELINK_TOOL COLD_LD DIRECTIVES MOVES
shift 2
exec "$here/run_tests.sh" "$here/session_ld.sh" "$@"
