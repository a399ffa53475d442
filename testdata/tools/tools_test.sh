#!/bin/bash
# Runs tests whose units are compiled with $FLAGS: tools_test.sh RUN_RELINKS RELINK_TOOL COLD_LD FLAGS --moves=POLICY,... TEST...
runner=$1 relink_tool=$2 cold_ld=$3
export FLAGS=$4
moves=$5
shift 5
exec "$runner" "$moves" "$relink_tool" "$cold_ld" "$@"
