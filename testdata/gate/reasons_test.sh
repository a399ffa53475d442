#!/bin/bash
# reasons_test.sh GATE_REASONS_DEF FOLDER: fails when a reason has no case. A case is FOLDER/REASON.test, which expects
# that reason, or a line "REASON TEST" of FOLDER/elsewhere.txt with a test that expects it.
set -u
def=$1 folder=$2 failed=0
while read -r id name; do
  test=$folder/$name.test
  if [ -f "$test" ]; then
    grep -qE "^@relink.* $name( |$)|reason=$name$|PATCHED none" "$test" || { echo "$test does not expect $name"; failed=1; }
  else
    elsewhere=$(awk -v name="$name" '$1 == name { print $2 }' "$folder/elsewhere.txt")
    if [ -z "$elsewhere" ]; then
      echo "no test provokes $name"; failed=1
    elif ! grep -q "GateReason::$id" "$elsewhere"; then
      echo "$elsewhere does not expect $id"; failed=1
    fi
  fi
done < <(sed -nE 's/^KITLINK_GATE_REASON\([0-9]+, (k[A-Za-z]+), "([a-z-]+)".*/\1 \2/p' "$def")
for test in "$folder"/*.test; do
  grep -q "\"$(basename "$test" .test)\"" "$def" || { echo "$test: no such reason"; failed=1; }
done
exit $failed
