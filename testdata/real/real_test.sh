#!/bin/bash
# run_real.sh on the sources in $KITLINK_SOURCES: real_test.sh RUN_REAL LINKER
: "${KITLINK_SOURCES:?the folder that tools/fetch_sources filled}"
exec "$1" "$2" "$KITLINK_SOURCES"
