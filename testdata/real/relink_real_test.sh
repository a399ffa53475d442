#!/bin/bash
# relink_real.sh on the sources in $KITLINK_SOURCES:
#   relink_real_test.sh RELINK_REAL PROGRAM KITLINKD KITLINK_LINK KITLINKC LD_KIT
set -eu
: "${KITLINK_SOURCES:?the folder that tools/fetch_sources filled}"
prefix=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-prefix-XXXXXX")
trap 'rm -rf "$prefix"' EXIT
mkdir -p "$prefix/bin" "$prefix/libexec/kitlink"
cp -L "$3" "$5" "$6" "$prefix/bin"
cp -L "$4" "$prefix/libexec/kitlink"
ln -s ../../bin/ld.kit "$prefix/libexec/kitlink/ld"
"$1" "$prefix" "$KITLINK_SOURCES" "$2"
