#!/usr/bin/env bash
# A real daemon that is killed, and the one after it, which takes up the session that the first one left on disk.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${TEST_SRCDIR:-$here}/${TEST_WORKSPACE:-}
find_program() {
  local path
  for path in "$root/$1" "${PROGRAMS:-}/$(basename "$1")"; do
    [[ -x $path ]] && { readlink -f "$path"; return; }
  done
  echo "no $1" >&2
  exit 1
}
ld_kit=$(find_program client/ld.kit)
kitlinkc=$(find_program client/kitlinkc)
daemon=$(find_program daemon/kitlinkd)

top=$(mktemp -d /tmp/kitlink-restart-XXXXXX)
unset XDG_RUNTIME_DIR XDG_STATE_HOME KITLINK_DAEMON KITLINK_DETECT
mkdir -p "$top/prefix/bin" "$top/prefix/libexec/kitlink" "$top/src" "$top/run"
chmod 700 "$top/run"
cp "$ld_kit" "$top/prefix/bin/ld.kit"
cp "$daemon" "$top/prefix/bin/kitlinkd"
ln -s ../../bin/ld.kit "$top/prefix/libexec/kitlink/ld"
export KITLINK_SOCKET=$top/run/s KITLINK_STATE_DIR=$top/state KITLINK_DAEMON=auto
trap '"$kitlinkc" stop >/dev/null 2>&1; rm -rf "$top"' EXIT
cd "$top/src" || exit 1

failures=0
fail() {
  echo "FAIL: $*" >&2
  failures=$((failures + 1))
}
daemon_pid() { "$kitlinkc" version --json | sed -n 's/.*"pid":\([0-9]*\)}/\1/p'; }
link() { gcc -B "$top/prefix/libexec/kitlink" main.o f.o -o program || fail "does not link"; }
# OUTCOME [REASON]: of the last link
expect() {
  local last
  last=$("$kitlinkc" explain program --json | tail -n 1)
  [[ $last == *"\"outcome\":\"$1\""* ]] || fail "expected $1: $last"
  [[ $last == *"\"reason\":\"${2:-none}\""* || $last == *"\"reason\":\"${2:-}\""* ]] || fail "expected ${2:-none}: $last"
}
expect_output() { [[ $(./program) == "$1" ]] || fail "prints $(./program), not $1"; }
# A file's time as a manifest has it: a zigzag varint of nanoseconds, here as a pattern.
recorded_time() {  # FILE
  local time left pattern=
  time=$(stat -c %.9Y "$1")
  for ((left = ${time/./} * 2; left > 127; left >>= 7)); do
    pattern+=$(printf '\\x%02x' $((left & 127 | 128)))
  done
  printf '%s\\x%02x' "$pattern" "$left"
}
# Waits until so many manifests on disk say that they are of this output, as it is now: a manifest of an earlier link, or of
# another session, may be written any time.
await_manifests() {  # COUNT OUTPUT
  local i pattern
  pattern=$(recorded_time "$2")
  for i in $(seq 2000); do
    (($(LC_ALL=C grep -laP "$pattern" --exclude='*.new*' -r "$KITLINK_STATE_DIR/store/sessions" 2>/dev/null | wc -l) >= $1)) && return
    sleep 0.01
  done
  fail "no state of $2 appears"
}
await_state() { await_manifests 1 "${1:-program}"; }
kill_daemon() {
  local pid
  pid=$(daemon_pid)
  kill -9 "$pid"
  timeout 20 tail --pid="$pid" -f /dev/null || fail "the daemon does not die"
}

cat >main.c <<'END'
#include <stdio.h>
int f(int);
int main(void) {
  printf("%d\n", f(1));
  return 0;
}
END
echo 'int f(int x) { return x + 1; }' >f.c
gcc -g -c main.c f.c
link
expect FULL first-link
expect_output 2
await_state

kill_daemon
echo 'int f(int x) { return x + 10; }' >f.c
gcc -g -c f.c
link
expect PATCHED
expect_output 11
"$kitlinkc" verify program >/dev/null || fail "verify finds a difference"
await_state

# An orderly end writes what waits to be written.
echo 'int g(int x) { return x * 2; } int f(int x) { return g(x) + 100; }' >f.c
gcc -g -c f.c
link
expect PATCHED
"$kitlinkc" stop >/dev/null
echo 'int g(int x) { return x * 2; } int f(int x) { return g(x) + 1000; }' >f.c
gcc -g -c f.c
link
expect PATCHED
expect_output 1002
await_state

# Nobody knows the patch of a daemon that dies with it.
kill_daemon
strip program
link
expect FELL_BACK_FULL state-stale
expect_output 1002
await_state

kill_daemon
for manifest in "$KITLINK_STATE_DIR"/store/sessions/*; do truncate -s 100 "$manifest"; done
link
expect FELL_BACK_FULL state-unusable
expect_output 1002
await_state

kill_daemon
rm -rf "$KITLINK_STATE_DIR/store"
link
expect FULL first-link
expect_output 1002

# A copy of the tree in another place: nothing of it has the stamps that were seen, so contents are compared, once.
cd "$top/src" || exit 1
await_manifests 2 program
kill_daemon
mkdir "$top/elsewhere"
cp main.c f.c main.o f.o program "$top/elsewhere"
cd "$top/elsewhere" || exit 1
sed 's/1000/2000/' f.c >g.c && mv g.c f.c
gcc -g -c -fdebug-prefix-map="$top/elsewhere=$top/src" f.c
cp "$top/src/program" before
link
expect PATCHED
expect_output 2002
"$kitlinkc" verify program >/dev/null || fail "verify finds a difference in the copy"
cmp "$top/src/program" before || fail "the original has changed"
# The original is what it was, and so is its state.
cd "$top/src" || exit 1
link
expect PATCHED
expect_output 1002

# A copy that is not one.
kill_daemon
mkdir "$top/other"
cp main.c f.c main.o f.o program "$top/other"
cd "$top/other" || exit 1
printf x | dd of=program bs=1 seek=5000 conv=notrunc status=none
link
expect FULL first-link
expect_output 1002

# A build system that gives its output a fresh path each time calls the session by a key.
mkdir "$top/keys" && cp main.c f.c main.o f.o "$top/keys" && cd "$top/keys" || exit 1
keyed() {  # NUMBER
  mkdir -p "out$1"
  gcc -B "$top/prefix/libexec/kitlink" main.o f.o -Wl,--session-key=K -o "out$1/program" || fail "does not link"
}
expect_keyed() {  # NUMBER OUTCOME PRINTED
  local last
  last=$("$kitlinkc" explain "out$1/program" --json | tail -n 1)
  [[ $last =~ \"outcome\":\"([A-Z]*_)*$2\" ]] || fail "key, $1: expected $2: $last"
  [[ $("out$1/program") == "$3" ]] || fail "key, $1: prints $("out$1/program"), not $3"
  "$kitlinkc" verify "out$1/program" >/dev/null || fail "key, $1: verify finds a difference"
}
keyed 1
expect_keyed 1 FULL 1002
for n in 2 3 4; do
  echo "int g(int x) { return x * $n; } int f(int x) { return g(x) + 1000; }" >f.c
  gcc -g -c f.c
  keyed $n
  expect_keyed $n PATCHED $((1000 + n))
done
[[ $(out1/program)$(out2/program) == 10021002 ]] || fail "what was linked before has changed"
keyed 5  # nothing changed but the path
expect_keyed 5 PATCHED 1004
rm -r out[1-5]
keyed 6  # the session's image went with its path, spare and all, and so did those of its past that may be on disk
expect_keyed 6 FULL 1004
# A link that fails leaves the session at the new path; what relinks it says so, and nobody looks at what is there.
echo 'int missing(void); int f(int x) { return missing(); }' >f.c
gcc -g -c f.c
mkdir out6b && echo "somebody else's" >out6b/program
gcc -B "$top/prefix/libexec/kitlink" main.o f.o -Wl,--session-key=K -o out6b/program 2>/dev/null && fail "a name that is missing is no error"
"$kitlinkc" verify out6b/program >/dev/null 2>&1 && fail "verify looks at a file that is not ours"
echo "int g(int x) { return x * 6; } int f(int x) { return g(x) + 1000; }" >f.c
gcc -g -c f.c
"$kitlinkc" relink out6b/program >/dev/null || fail "key: does not relink"
expect_keyed 6b PATCHED 1006
rm -r out6b/program && keyed 6
expect_keyed 6 PATCHED 1006
# The next daemon finds it by its key, too, at yet another path.
await_state out6/program
kill_daemon
echo "int g(int x) { return x * 7; } int f(int x) { return g(x) + 1000; }" >f.c
gcc -g -c f.c
keyed 7
expect_keyed 7 PATCHED 1007

# How changes are found: by what the watch tells, by everybody's stamp, by everybody's content.
cd "$top/src" || exit 1
for detect in watch stat hash; do
  export KITLINK_DETECT=$detect
  echo "int f(int x) { return x + ${#detect}00; } int $detect;" >f.c
  gcc -g -c f.c
  link
  expect PATCHED
  expect_output "$((${#detect} * 100 + 1))"
  touch main.o  # of the same content
  link
  expect PATCHED
  link
  expect PATCHED
  read_again=$("$kitlinkc" explain program --json | tail -n 1 | sed 's/.*"inputs_read":\([0-9]*\).*/\1/')
  case $detect in
    hash) ((read_again >= 8)) || fail "$detect reads $read_again inputs" ;;
    *) ((read_again <= 2)) || fail "$detect reads $read_again inputs" ;;  # those that have only just been written
  esac
done
unset KITLINK_DETECT

[[ $failures == 0 ]] || exit 1
echo "all passed"
