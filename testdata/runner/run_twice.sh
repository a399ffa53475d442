#!/bin/bash
# Runs directive tests of relinks twice, in the same folders, and wants each patched image to be the same: run_twice.sh
# RELINK_TOOL COLD_LD TEST...   Addresses, hashes with a seed, threads and the age of files must not decide a byte.
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
[ -e "$here/run_relinks.sh" ] || here=$PWD/testdata/runner
top=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-twice-XXXXXX") || exit 2
trap 'rm -rf "$top"' EXIT
for run in young old; do
  mkdir "$top/$run"
  KITLINK_TEST_AGE=$run KITLINK_TEST_WORK=$top/work KITLINK_TEST_IMAGES=$top/$run "$here/run_relinks.sh" "$@" || exit 1
done
differing=0 count=0
for image in "$top/young"/*; do
  count=$((count + 1))
  cmp -s "$image" "$top/old/${image##*/}" && continue
  echo "FAILED: another image the second time: ${image##*/} (test, compiler, line, output)" >&2
  differing=$((differing + 1))
done
echo "$count images, $differing differ"
[ $differing -eq 0 ] && [ $count -ne 0 ]
