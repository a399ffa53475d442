#!/bin/bash
# The `ld` of relink tests: hands its arguments to relink_tool (run_relinks.sh starts one for each test), then checks what
# came out, while the driver's temporary objects still exist: the output must be equivalent to a cold link, and where the
# link was a full one, the same bytes as cold_ld's in a process of its own. A build id must be what the output's bytes give,
# so that other bytes have another id; `verify` does not look at it. Leaves the answer in .reply.
set -u
case " $* " in
  *" --move="*) ;;
  *) [ -z "${MOVE:-}" ] || set -- "$@" "--move=$MOVE" ;;
esac
[ -z "${KITLINK_TEST_THREADS:-}" ] || set -- "$@" "--threads=$KITLINK_TEST_THREADS"
to=${SESSION_DIR:?}/in from=$SESSION_DIR/out
# For run_twice.sh: objects whose stamps are too young to be trusted afterwards, or none of them.
case ${KITLINK_TEST_AGE:-} in
  young) [ -e "$SESSION_DIR/touched" ] || find . -name '*.o' -exec touch {} +; touch "$SESSION_DIR/touched" ;;
  old) sleep 0.04 ;;
esac
# Read and write, so that nothing waits for a tool that has died.
exec 8<>"$to" 9<>"$from"
ask() {
  local line
  printf '%s\n' "$*" >&8
  while IFS= read -r -t 30 -u 9 line; do
    case $line in
      "ld: "*) printf '%b\n' "$line" >&2 ;;
      *) printf '%s\n' "$line" ;;
    esac
    case $line in "result: "*) return ;; esac
  done
  echo "result: error=the tool does not answer"
}

printf '%s\0' "$@" >"$SESSION_DIR/arguments"
ask link "$PWD" "$SESSION_DIR/arguments" >.reply
case $(tail -n 1 .reply) in
  "result: error="*) tail -n 1 .reply >&2; exit 1 ;;
esac
output=$(tail -n 1 .reply)
output=${output##*detail=*output=}
ask verify "$output" >.verdict
case $(tail -n 1 .verdict) in
  "result: verdict=EQUIVALENT"*) ;;
  *) echo "not what a cold link gives:" >&2; cat .reply .verdict >&2; exit 1 ;;
esac
id=$(tail -n 1 .reply)
id=${id#* build_id=} id=${id%% *}
# One that was chosen is none of ours, nor are those of links that are not incremental.
case " $* " in
  *" --build-id=0x"* | *" --build-id=0X"* | *" --incremental=off "*) id= ;;
esac
if [ -n "$id" ]; then
  # As a test this script is a link to the source tree, where the other one is. python3-xxhash is a package of the system's Python.
  build_id=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/build_id.py
  /usr/bin/python3 -B "$build_id" "$output" "$id" >&2 || { echo "not what a cold link gives: the build id" >&2; exit 1; }
fi
case $(tail -n 1 .reply) in
  *" outcome=PATCHED "*) exit 0 ;;
esac
"${COLD_LD:?}" "$@" --threads=1 -o "$SESSION_DIR/cold" >&2 || exit 1
cmp "$output" "$SESSION_DIR/cold" >&2
