#!/bin/bash
# Edits a program of eight C and two C++ units at random and links it again after each edit:
#   random_edits.sh RELINK_TOOL COLD_LD [STEPS [SEED...]]
# Each link is compared with a cold link (session_ld.sh), and the program's output with that of the same objects linked by
# the system's linker. Says how many links were patched: a run in which few were has tested little, and fails.
set -u
export LC_ALL=C
RELINK_TOOL=$(readlink -f "$1") COLD_LD=$(readlink -f "$2")
ld=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/session_ld.sh
# As a test it is found under the name of its target; the other scripts are where they are in the source tree.
[ -e "$ld" ] || ld=$PWD/testdata/runner/session_ld.sh
export RELINK_TOOL COLD_LD
steps=${3:-30}
shift $(($# < 3 ? $# : 3))

work=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-random-XXXXXX") || exit 2
tool=
finish() {
  [ -z "$tool" ] || kill "$tool" 2>/dev/null
  [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT
mkdir "$work/bin" && ln -s "$ld" "$work/bin/ld" || exit 2

# What a unit is made of, as numbers that edits change.
declare -A constant calls statics rows text local
units="1 2 3 4 5 6 7 8 9 10"

extension() { [ "$1" -le 8 ] && echo c || echo cc; }

write_unit() {
  local u=$1 i name=${local[$1]} linkage=
  [ "$u" -le 8 ] || linkage='extern "C" '
  {
    echo "#include <stdio.h>"
    [ "$u" -le 8 ] || echo "#include <string>"
    echo "${linkage}int unit_$((u % 10 + 1))(int);"
    [ "$u" -le 8 ] && echo "void note(const char*, int);" || echo 'extern "C" void note(const char*, int);'
    echo "static const char* const words_$name[] = {"
    for ((i = 0; i < rows[$u]; i++)); do echo "  \"word $((i * ${text[$u]}))\","; done
    echo "};"
    echo "static int numbers_$name[] = {"
    for ((i = 0; i < rows[$u]; i++)); do echo "  $((i + constant[$u])),"; done
    echo "};"
    for ((i = 0; i < statics[$u]; i++)); do
      echo "static __attribute__((noinline)) int ${name}_$i(int x) { note(words_$name[$i % ${rows[$u]}], x); return x * $((constant[$u] + i)) % 1000; }"
    done
    echo "int value_$u = ${constant[$u]};"
    echo "${linkage}int unit_$u(int x) {"
    echo "  int total = numbers_$name[x % ${rows[$u]}] + value_$u;"
    for ((i = 0; i < calls[$u]; i++)); do echo "  note(words_$name[x % ${rows[$u]}], total + $i);"; done
    for ((i = 0; i < statics[$u]; i++)); do echo "  total += ${name}_$i(x + $i);"; done
    if [ "$u" -gt 8 ]; then
      echo "  try { if (x >= 0) throw std::string(\"thrown ${text[$u]}\"); } catch (const std::string& s) { note(s.c_str(), total); }"
    fi
    [ "$u" = 10 ] || echo "  total += unit_$((u + 1))(total & 15);"
    echo "  return total;"
    echo "}"
  } >"unit_$u.$(extension "$u")"
}

compile() {
  local driver=gcc
  [ "$1" -le 8 ] || driver=g++
  $driver -c $flags "unit_$1.$(extension "$1")" -o "unit_$1.o" || exit 2
}

fail() {
  echo "FAILED: seed $seed, step $step: $1" >&2
  cat .output .reply .verdict 2>/dev/null | head -30 >&2
  exit 1
}

link_and_run() {
  g++ -B"$work/bin" main.o unit_*.o -o program >.output 2>&1 || fail "does not link"
  [ ! -s .output ] || fail "the linker complains"
  g++ main.o unit_*.o -o expected || exit 2
  ./expected >expected.txt
  timeout 20 ./program >actual.txt || fail "does not run"
  cmp expected.txt actual.txt >.output || fail "prints something else"
}

edit() {
  case $((RANDOM % 8)) in
    0 | 1) constant[$1]=$((RANDOM % 500)) ;;
    2) calls[$1]=$((calls[$1] + 1 + RANDOM % 12)) ;;
    3) calls[$1]=$((1 + RANDOM % 3)) ;;
    4) statics[$1]=$((1 + RANDOM % 6)) ;;
    5) text[$1]=$((1 + RANDOM % 1000)) ;;
    6) rows[$1]=$((1 + RANDOM % 40)) ;;
    7) local[$1]=name$((RANDOM % 100)) ;;
  esac
}

run_seed() {
  local u patched=0 fallen=0
  RANDOM=$seed
  step=0
  mkdir "$work/$seed" && cd "$work/$seed" || exit 2
  export SESSION_DIR=$work/$seed.session
  mkdir "$SESSION_DIR" && mkfifo "$SESSION_DIR/in" "$SESSION_DIR/out" || exit 2
  "$RELINK_TOOL" "$SESSION_DIR/in" "$SESSION_DIR/out" &
  tool=$!
  flags="-O$((seed % 3)) -ffunction-sections -fdata-sections"
  [ $((seed % 2)) -eq 0 ] || flags="$flags -g"
  for u in $units; do
    constant[$u]=$u calls[$u]=1 statics[$u]=1 rows[$u]=3 text[$u]=$u local[$u]=first
    write_unit "$u"
    compile "$u"
  done
  printf '%s\n' '#include <stdio.h>' 'int unit_1(int);' 'void note(const char* s, int x) { printf("%s %d\n", s, x); }' \
    'int main(void) { printf("%d\n", unit_1(3)); }' >main.c
  gcc -c $flags main.c -o main.o || exit 2
  link_and_run
  for ((step = 1; step <= steps; step++)); do
    u=$((1 + RANDOM % 10))
    edit "$u"
    write_unit "$u"
    compile "$u"
    if [ $((RANDOM % 4)) -eq 0 ]; then
      u=$((1 + RANDOM % 10))
      edit "$u"
      write_unit "$u"
      compile "$u"
    fi
    link_and_run
    case $(tail -n 1 .reply) in
      *outcome=PATCHED*) patched=$((patched + 1)) ;;
      *) fallen=$((fallen + 1)); sed -nE 's/.*reason=([a-z-]*).*detail=(.*) output=.*/  fell back: \1 \2/p' .reply ;;
    esac
  done
  kill "$tool"
  tool=
  echo "seed $seed ($flags): $patched patched, $fallen fell back"
  [ $((patched * 2)) -ge "$steps" ] || fail "hardly anything was patched"
}

for seed in "${@:-1}"; do
  run_seed
done
