#!/usr/bin/env bash
# Patched outputs are compared with links from scratch while nobody links; a mismatch is told and mended.
set -u
root=$PWD
find_program() { readlink -f "$root/$1" || exit 1; }
top=$(mktemp -d /tmp/kitlink-shadow-XXXXXX) || exit 1
unset XDG_RUNTIME_DIR XDG_STATE_HOME KITLINK_DAEMON HOME
export KITLINK_SOCKET=$top/run/s KITLINK_STATE_DIR=$top/state KITLINK_SHADOW=always KITLINK_SHADOW_SECONDS=0.2
mkdir -p "$top/bin" "$top/libexec/kitlink" "$top/src" && mkdir -m 700 "$top/run" || exit 1
cp "$(find_program client/ld.kit)" "$top/bin/ld.kit"
cp "$(find_program client/kitlinkc)" "$top/bin/kitlinkc"
cp "$(find_program daemon/kitlinkd)" "$top/bin/kitlinkd"
ln -s ../../bin/ld.kit "$top/libexec/kitlink/ld"
trap '"$top/bin/kitlinkc" stop >/dev/null 2>&1; rm -rf "$top"' EXIT
cd "$top/src" || exit 1

fail() {
  echo "FAIL: $*" >&2
  tail -20 "$top/state/kitlinkd.log" >&2
  exit 1
}
status() { "$top/bin/kitlinkc" status --json; }
# await TEXT: until the status says so.
await() {
  local i
  for i in $(seq 600); do
    status | grep -q "$1" && return
    sleep 0.1
  done
  fail "the status never says $1: $(status)"
}
edit() { # VALUE
  echo "int work(void) { return $1; }" >work.c
  gcc -g -c work.c || exit 1
}
link() { gcc -B "$top/libexec/kitlink" main.o work.o -o program "$@"; }
outcome() { "$top/bin/kitlinkc" explain program --json | tail -n 1; }

echo 'int work(void); int main(void) { return work(); }' >main.c
gcc -g -c main.c || exit 1
edit 1
link || fail "does not link"

# A patch is looked at, and found good.
edit 2
link || fail "does not relink"
outcome | grep -q '"PATCHED"' || fail "not patched: $(outcome)"
await '"shadow":"equivalent'
grep -q 'as good as a link from scratch' "$top/state/kitlinkd.log" || fail "the log says nothing"

# An output that is wrong, compared as the daemon does it: told, and kept for others.
cp program wrong
offset=$((16#$(nm wrong | awk '$3 == "work" { print $1 }')))
section=$(readelf -SW wrong | sed -n 's/^ *\[ *[0-9]*\] \.text  *PROGBITS  *\([0-9a-f]*\) \([0-9a-f]*\).*/\1 \2/p')
at=$((offset - 16#${section% *} + 16#${section#* }))
printf '\x90' | dd of=wrong bs=1 seek=$((at + 4)) conv=notrunc status=none
sleep 0.05 && touch wrong
mapfile -d '' -t arguments < <(KITLINK_SAVE_REPRO=$top/saved link && sed -E 's/^"(.*)"$/\1/; s/@ROOT@//' "$top"/saved/0001-program/arguments | tr '\n' '\0')
[ "${#arguments[@]}" -gt 5 ] || fail "no arguments were kept"
for name in inputs after before arguments replay; do
  [ -e "$top/saved/0001-program/$name" ] || fail "$name was not kept"
done
"$top/saved/0001-program/replay" "$top/bin/ld.kit" --incremental=off >/dev/null || fail "cannot be replayed"
(cd "$top/saved/work" && ./output)
[ $? -eq 2 ] || fail "the replayed program is another"
field() { printf '%s:%s' "${#1}" "$1"; }
touch wrong
job() {
  field "$PWD"; field "$PWD/wrong"; field "$top/repro"; field 0
  for argument in "${arguments[@]}"; do field "$argument"; done
}
job | "$top/bin/kitlinkd" --shadow-link >said
[ $? -eq 1 ] || fail "a wrong output is not noticed: $(cat said)"
grep -q work said || fail "it is not said what differs: $(cat said)"
[ -e "$top/repro/after" ] || fail "nothing was kept"
# Inputs that are newer than the output say nothing.
sleep 0.05 && touch work.o
job | "$top/bin/kitlinkd" --shadow-link >said
[ $? -eq 2 ] || fail "newer inputs: $(cat said)"

# A mismatch: the next link is full and says why.
"$top/bin/kitlinkc" stop >/dev/null
printf '#!/bin/sh\necho "work.o:.text: something else"\nexit 1\n' >"$top/pretend" && chmod +x "$top/pretend"
export KITLINK_SHADOW_PROGRAM=$top/pretend
edit 3 && link || fail "does not link"
edit 4 && link || fail "does not relink"
await '"shadow":"DIFFERENT'
grep -q 'DIFFERS FROM A LINK FROM SCRATCH' "$top/state/kitlinkd.log" || fail "the log says nothing"
edit 5
link 2>said || fail "does not relink"
grep -q 'warning: the output of the last relink was wrong.*something else' said || fail "no warning: $(cat said)"
outcome | grep -q '"FELL_BACK_FULL","reason":"shadow-mismatch"' || fail "no reason: $(outcome)"
./program
[ $? -eq 5 ] || fail "wrong program"

# Relinks leave a file of mostly holes: once it was found good, the next link lays it out anew, and the one after patches.
"$top/bin/kitlinkc" stop >/dev/null
unset KITLINK_SHADOW_PROGRAM
large() { # VALUE
  echo "static char large[3000000] = \"x\"; int work(void) { volatile int i = 0; return $1 + large[i] - 'x'; }" >work.c
  gcc -g -fdata-sections -c work.c || exit 1
}
rm -f program
large 1 && link || fail "does not link"
edit 2 && link || fail "does not relink"
await '"shadow":"equivalent.*"fragmented":"[0-9].*"renewal":true'
"$top/bin/kitlinkc" status | grep -q 'holes.*; the next link will be full' || fail "people are told nothing"
outcome | grep -q '"PATCHED"' || fail "something was linked by itself: $(outcome)"
edit 3 && link || fail "does not relink"
outcome | grep -q '"FELL_BACK_FULL","reason":"fragmented"' || fail "not laid out anew: $(outcome)"
status | grep -q '"fragmented":"","renewal":false' || fail "still fragmented: $(status)"
./program
[ $? -eq 3 ] || fail "wrong program"
"$top/bin/kitlinkc" verify program >/dev/null || fail "not as good as a link from scratch"
edit 4 && link || fail "does not relink"
outcome | grep -q '"PATCHED"' || fail "not patched: $(outcome)"
export KITLINK_SHADOW_PROGRAM=$top/pretend

# A request kills what runs, and need not wait for it.
"$top/bin/kitlinkc" stop >/dev/null
printf '#!/bin/sh\necho $$ >"%s/running"\nexec sleep 100\n' "$top" >"$top/pretend"
edit 6 && link || fail "does not link"
edit 7 && link || fail "does not relink"
for _ in $(seq 600); do [ -s "$top/running" ] && break; sleep 0.05; done
process=$(cat "$top/running") || fail "nothing runs"
edit 8
link || fail "does not relink"
timeout 20 tail --pid="$process" -f /dev/null || fail "it still runs"

# Switched off.
"$top/bin/kitlinkc" stop >/dev/null
rm "$top/running"
export KITLINK_SHADOW=off
edit 9 && link && edit 10 && link || fail "does not link"
sleep 1
[ ! -e "$top/running" ] || fail "compared though switched off"
echo passed
