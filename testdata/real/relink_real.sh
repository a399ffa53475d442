#!/bin/bash
# Links real programs through the daemon, edits their sources one edit after the other, and links again with the same
# command of the compiler's driver:
#   relink_real.sh PREFIX SOURCES [PROGRAM]...
# PREFIX is laid out as tools/install does it, SOURCES was filled by tools/fetch_sources. PROGRAM.edits says what is
# edited, and what must come of it. After every link the outcome must be the one that is stated, `kitlinkc verify` must
# find the image equivalent, the program must print what the system's linker makes of the same objects, and the edit must
# show in it; what fell back must be byte for byte what a link without the daemon gives.
# COMPILERS and KINDS choose among gcc, clang and among optimised, debug, plain. Prints a line for each link.
set -u
prefix=$(readlink -f "$1") original=$(readlink -f "$2")
shift 2
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
programs=("$@")
[ $# -gt 0 ] || programs=(lua sqlite zstd)
top=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-real-XXXXXX") || exit 2
# A daemon of our own; another one of this user goes on undisturbed.
unset KITLINK_SOCKET KITLINK_STATE_DIR KITLINK_DETECT
export XDG_RUNTIME_DIR=$top/run XDG_STATE_HOME=$top/state KITLINK_DAEMON=require
mkdir -m 700 "$XDG_RUNTIME_DIR"
finish() {
  "$prefix/bin/kitlinkc" stop >/dev/null 2>&1
  [ -n "${KEEP:-}" ] || rm -rf "$top"
}
trap finish EXIT
trap 'exit 1' INT TERM
. "$here/programs.sh"
failures=0

fail() {
  echo "  FAILED: $*"
  failures=$((failures + 1))
}

# With "plain" each file has one .text, so that a function drags its file along.
sections="-ffunction-sections -fdata-sections"
declare -A flags=([optimised]="-O2 $sections" [debug]="-O0 -g $sections" [plain]="-O0 -g")

# compile SOURCE...: into $work/objects, two at a time; with zstd, whose library is an archive, that as well.
compile() {
  printf '%s\n' "$@" | xargs -P 2 -I{} sh -c \
    'o=$(basename "$1"); '"$compiler ${flags[$kind]} $(flags_of "$program" | xargs)"' -w -c "$1" -o objects/${o%.*}.o' sh {} || return
  [ "$program" = zstd ] || return 0
  ar rcs library.a $(cd "$sources/libzstd/lib" && ls {common,compress,decompress,dictBuilder}/*.c decompress/*.S | sed -E 's,.*/(.*)\..$,objects/\1.o,')
}

# link OPTION...: what the driver makes of the objects.
link() {
  local objects=(objects/*.o)
  [ "$program" != zstd ] ||
    objects=($(cd "$sources/libzstd/programs" && ls *.c | sed 's,\(.*\)\.c$,objects/\1.o,') library.a)
  "$compiler" "$@" "${objects[@]}" $(libraries_of "$program")
}
through_kitlink() {
  local select=-B$prefix/libexec/kitlink
  [ "$compiler" = gcc ] || select=--ld-path=$prefix/bin/ld.kit
  link "$select" "$@"
}

# field NAME: of the answer to the last link.
field() { sed -nE "s/.*\"$1\":\"?([^\",}]*).*/\1/p" <<<"$answer"; }

# check TITLE OUTCOME REASON: the link of ./program that was just made.
check() {
  local outcome reason got
  answer=$("$prefix/bin/kitlinkc" explain program --json | tail -n 1)
  outcome=$(field outcome) reason=$(field reason)
  printf '%s, %s, %s: %s: %s' "$program" "$compiler" "$kind" "$1" "$outcome"
  [ "$reason" = none ] || printf ' (%s)' "$reason"
  printf ', %s of %s atoms changed, %s moved, %s bytes in %s us\n' "$(sed -E 's/.*"changed":([0-9]+).*/\1/' <<<"$answer")" \
    "$(sed -E 's/.*"atoms":\{"total":([0-9]+).*/\1/' <<<"$answer")" "$(field moved)" "$(field bytes_written)" \
    "$(sed -E 's/.*"timings_us":\{"total":([0-9]+).*/\1/' <<<"$answer")"
  [ "$outcome" = "$2" ] && [ "$reason" = "$3" ] || fail "expected $2 ($3): $("$prefix/bin/kitlinkc" explain program | tail -n 2)"
  # A second too long to be usual shows a hang, and says where.
  timeout 600 "$prefix/bin/kitlinkc" verify program >verified 2>&1 || fail "verify: $(head -5 verified)"
  link -o expected || fail "the system's linker fails"
  before=$printed
  "run_$program" ./expected >expected.out 2>&1 || fail "linked by the system's linker it fails: $(tail -3 expected.out)"
  "run_$program" ./program >got.out 2>&1 || fail "fails: $(tail -3 got.out)"
  diff expected.out got.out >difference || fail "prints something else: $(head -5 difference)"
  printed=$(cat got.out)
  if [ "$outcome" != PATCHED ]; then
    KITLINK_DAEMON=off through_kitlink -o cold || fail "no cold link"
    cmp program cold || fail "other bytes than a cold link"
  fi
}

# edit TITLE FILE OUTCOMES SHOWS <SCRIPT: edits FILE (in the sources) with sed -E, compiles what includes it, links.
# OUTCOMES is OUTCOME[:REASON], then words KIND=OUTCOME[:REASON] or COMPILER-KIND=... where another
# is expected.
# SHOWS is a text that the program must print from now on, "different" or "same".
edit() {
  local file expected=${3%% *} word outcome reason=none
  for word in $3; do
    [[ $word != $kind=* && $word != "$compiler-$kind"=* ]] || expected=${word#*=}
  done
  outcome=${expected%%:*}
  [[ $expected != *:* ]] || reason=${expected##*:}
  file=$(find "$sources" -name "$2" | head -1)
  cp "$file" before.c
  sed -i -E "$(cat)" "$file"
  ! cmp -s "$file" before.c || fail "$1: the edit changes nothing"
  compile $(affected "$file") || fail "$1: does not compile"
  through_kitlink -o program >messages 2>&1 || fail "$1: does not link: $(head -3 messages)"
  [ ! -s messages ] || fail "$1: messages: $(head -3 messages)"
  check "$1" "$outcome" "$reason"
  case $4 in
    same) [ "$printed" = "$before" ] || fail "prints something else than before" ;;
    different) [ "$printed" != "$before" ] || fail "prints the same as before" ;;
    *)
      [[ $before != *"$4"* ]] || fail "'$4' was there before"
      [[ $printed == *"$4"* ]] || fail "does not print '$4'" ;;
  esac
}

# affected FILE: the sources to compile when it changed.
affected() {
  case $1 in
    *.h) sources_of "$program" | xargs "$compiler" -w -MM $(flags_of "$program") | sed -z 's/\\\n//g' | grep -F "$1" |
      sed -E 's/^[^:]*: *([^ ]*).*/\1/' ;;
    *) echo "$1" ;;
  esac
}

# broken TITLE FILE MESSAGE <SCRIPT: an edit after which the program does not link, and its undoing, which is a patch.
broken() {
  local file saved
  file=$(find "$sources" -name "$2" | head -1)
  cp "$file" saved.c
  saved=$(sha256sum program)
  sed -i -E "$(cat)" "$file"
  compile "$file" || fail "$1: does not compile"
  ! through_kitlink -o program >messages 2>&1 || fail "$1: links"
  grep -qF "$3" messages || fail "$1: '$3' is not among the messages: $(cat messages)"
  # clang's driver removes what it could not link.
  [ "$compiler" = clang ] || [ "$saved" = "$(sha256sum program)" ] || fail "$1: the failed link touched the output"
  cp saved.c "$file"
  compile "$file"
  through_kitlink -o program || fail "$1: does not link again"
  check "$1" PATCHED none
}

run_edits() {
  work=$top/$program-$compiler-$kind
  sources=$work/sources printed=
  mkdir -p "$work/objects" "$sources"
  cd "$work" || exit 1
  case $program in
    lua) cp -r "$original/lua5.4" "$sources" ;;
    sqlite) mkdir "$sources/sqlite3-built" && cp "$original"/sqlite3-built/*.[ch] "$sources/sqlite3-built" ;;
    zstd) mkdir "$sources/libzstd" && cp -r "$original"/libzstd/{lib,programs} "$sources/libzstd" ;;
  esac
  compile $(sources_of "$program") || { fail "$program does not compile"; return; }
  through_kitlink -o program || { fail "$program does not link"; return; }
  check "first link" FULL first-link
  . "$here/$program.edits"
  cd "$top" || exit 1
  [ -n "${KEEP:-}" ] || rm -rf "$work"
}

for program in "${programs[@]}"; do
  for compiler in ${COMPILERS:-gcc clang}; do
    for kind in ${KINDS:-optimised debug plain}; do
      run_edits
    done
  done
done
echo "$failures failures"
[ $failures -eq 0 ]
