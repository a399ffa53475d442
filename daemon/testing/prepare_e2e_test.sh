#!/usr/bin/env bash
# A real daemon that plans what an edit asks for as soon as the compiler has closed the object.
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

top=$(mktemp -d /tmp/kitlink-prepare-XXXXXX)
unset XDG_RUNTIME_DIR XDG_STATE_HOME KITLINK_DAEMON KITLINK_DETECT KITLINK_PREPARE
mkdir -p "$top/prefix/bin" "$top/prefix/libexec/kitlink" "$top/src" "$top/run"
chmod 700 "$top/run"
cp "$ld_kit" "$top/prefix/bin/ld.kit"
cp "$daemon" "$top/prefix/bin/kitlinkd"
ln -s ../../bin/ld.kit "$top/prefix/libexec/kitlink/ld"
export KITLINK_SOCKET=$top/run/s KITLINK_STATE_DIR=$top/state KITLINK_DAEMON=auto KITLINK_SHADOW=off
trap '"$kitlinkc" stop >/dev/null 2>&1; rm -rf "$top"' EXIT
cd "$top/src" || exit 1

failures=0
fail() {
  echo "FAIL: $*" >&2
  failures=$((failures + 1))
}
link() { gcc -B "$top/prefix/libexec/kitlink" main.o f.o -o program || fail "does not link"; }
last() { "$kitlinkc" explain program --json | tail -n 1; }
expect_patched() {  # PRINTED
  [[ $(last) == *'"outcome":"PATCHED"'* ]] || fail "expected PATCHED: $(last)"
  [[ $(./program) == "$1" ]] || fail "prints $(./program), not $1"
}
was_prepared() { [[ ! $(last) =~ \"prepared_us\":0\} ]]; }
compile() { echo "int f(int x) { return x + $1; }" >f.c && gcc -g -c f.c; }

printf '#include <stdio.h>\nint f(int);\nint main(void) { printf("%%d\\n", f(0)); return 0; }\n' >main.c
compile 1
gcc -g -c main.c
link
[[ $(./program) == 1 ]] || fail "prints $(./program)"
sleep 1  # until it is watched

# How soon is up to the machine: some time within so many edits.
seen=no
for n in $(seq 100 140); do
  compile "$n"
  sleep 0.1
  link
  expect_patched "$n"
  was_prepared && { seen=yes; break; }
done
[[ $seen == yes ]] || fail "nothing was planned ahead"
"$kitlinkc" verify program >/dev/null || fail "verify finds a difference"
[[ $("$kitlinkc" explain program | tail -n 1) == *"planned before it was asked for"* ]] || fail "explain does not tell: $("$kitlinkc" explain program | tail -n 1)"

# What is there when the link is asked for counts, whatever was planned: objects of one size and one modification time,
# which is never old enough to be trusted.
for n in 300 301 302; do
  compile "$n"
  touch -d '2030-01-01' f.o
  mv f.o "$n.o"
done
for round in $(seq 60); do
  for n in 300 301 302; do
    cp -p "$n.o" f.o
    ((round % 3 == 0)) && sleep 0.01
  done
  n=$((300 + round % 3))
  cp -p "$n.o" f.o
  ((round % 2 == 0)) && sleep 0.00"$((round % 7))"
  link
  expect_patched "$n"
done
"$kitlinkc" verify program >/dev/null || fail "verify finds a difference after many writes"

# A mistake is told by the link, and by nothing before it.
echo 'int missing(void); int f(int x) { return missing(); }' >f.c
gcc -g -c f.c
sleep 0.3
gcc -B "$top/prefix/libexec/kitlink" main.o f.o -o program 2>errors && fail "a name that is missing is no error"
grep -q "undefined symbol: missing" errors || fail "it is not told: $(cat errors)"
./program >/dev/null || fail "the program is not what it was"
compile 400
sleep 0.3
link
expect_patched 400
# Nor does it hold the output open, or need the one that it has seen.
compile 401
sleep 0.3
pid=$("$kitlinkc" version --json | sed -n 's/.*"pid":\([0-9]*\)}/\1/p')
[[ -d /proc/$pid/fd ]] || fail "no daemon: $("$kitlinkc" version --json)"
readlink "/proc/$pid"/fd/* | grep -x "$PWD/program" && fail "the daemon holds the output open"
rm program
link
[[ $(./program) == 401 ]] || fail "prints $(./program) after it was removed"
compile 402
sleep 0.3
echo "somebody else's" >program
link
[[ $(./program) == 402 ]] || fail "prints $(./program) after it was replaced"

"$kitlinkc" stop >/dev/null
export KITLINK_PREPARE=off
for n in 500 501 502 503; do
  compile "$n"
  sleep 0.3
  link
  [[ $(./program) == "$n" ]] || fail "prints $(./program), not $n"
  was_prepared && fail "it was told not to plan ahead: $(last)"
done

[[ $failures == 0 ]] || exit 1
echo "all passed"
