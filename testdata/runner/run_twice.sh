#!/bin/bash
# Runs directive tests of relinks twice and wants each patched image to be the same: run_twice.sh RELINK_TOOL COLD_LD TEST...
# Addresses, hashes with a seed, the number of threads, the folder and the age of files must not decide a byte. The second
# time the tool has one processor, so that each of its loops has one thread, and folders have longer names.
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
[ -e "$here/run_relinks.sh" ] || here=$PWD/testdata/runner
top=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-twice-XXXXXX") || exit 2
trap 'rm -rf "$top"' EXIT
tool=$(readlink -f "$1") cold_ld=$2
shift 2
processor=$(taskset -cp $$) processor=${processor##*: } processor=${processor%%[-,]*}
printf '#!/bin/bash\nexec taskset -c %s %q "$@"\n' "$processor" "$tool" >"$top/tool"
chmod +x "$top/tool"
mkdir "$top/young" "$top/old" "$top/in-another-folder"
run() {
  KITLINK_TEST_AGE=$1 KITLINK_TEST_THREADS=$2 KITLINK_TEST_WORK=$3 KITLINK_TEST_IMAGES=$top/$1 "$here/run_relinks.sh" "${@:4}"
}
run young 3 "$top/work" "$tool" "$cold_ld" "$@" && run old 1 "$top/in-another-folder/that-is-longer" "$top/tool" "$cold_ld" "$@" || exit 1
differing=0 count=0
for image in "$top/young"/*; do
  count=$((count + 1))
  cmp -s "$image" "$top/old/${image##*/}" && continue
  echo "FAILED: another image the second time: ${image##*/} (test, compiler, line, output)" >&2
  differing=$((differing + 1))
done
echo "$count images, $differing differ"
[ $differing -eq 0 ] && [ $count -ne 0 ]
