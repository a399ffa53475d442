#!/bin/bash
# run_real.sh on the sources in $KITLINK_SOURCES: real_test.sh LINKER RUN_REAL
: "${KITLINK_SOURCES:?the folder that tools/fetch_sources filled}"
exec "$2" "$1" "$KITLINK_SOURCES"
