#!/bin/bash
# reasons_test.sh GATE_REASONS_DEF FOLDER: fails when a reason has no case. A case is FOLDER/REASON.test or, for one of
# several, FOLDER/REASON_WHAT.test, which expects that reason; or a line "REASON TEST" of FOLDER/elsewhere.txt with a test
# whose statements (not only its comments) name it. One case at least must be under the gate that people have: those that
# say --gate=strict do not count.
set -u
def=$1 folder=$2 failed=0
while read -r id name; do
  exact=$(grep -L -e --gate=strict "$folder/$name.test" "$folder/${name}_"*.test 2>/dev/null)
  [ -z "$exact" ] || continue
  if [ -n "$(find -L "$folder" -name "$name.test" -o -name "${name}_*.test")" ]; then
    echo "only strict links provoke $name"; failed=1; continue
  fi
  elsewhere=$(awk -v name="$name" '$1 == name { print $2 }' "$folder/elsewhere.txt")
  if [ -z "$elsewhere" ]; then
    echo "no test provokes $name"; failed=1
  elif ! sed 's://.*::' "$elsewhere" | grep -q "GateReason::$id\>"; then
    echo "$elsewhere does not expect $id"; failed=1
  fi
done < <(sed -nE 's/^KITLINK_GATE_REASON\([0-9]+, (k[A-Za-z]+), "([a-z-]+)".*/\1 \2/p' "$def")
for test in "$folder"/*.test; do
  name=$(basename "$test" .test) name=${name%%_*}
  grep -q "\"$name\"" "$def" || { echo "$test: no such reason"; failed=1; }
  grep -qE "^@(relink|relink-changed) .* $name( |$)|reason=$name( |$)" "$test" ||
    { echo "$test does not expect $name"; failed=1; }
done
exit $failed
