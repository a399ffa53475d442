#!/bin/bash
# Links real programs with a linker, from objects of gcc and of clang through both drivers, runs each, and compares what it
# prints with what the system's linker makes of the same objects:
#   run_real.sh LINKER SOURCES      (SOURCES: a folder filled by tools/fetch_sources)
# Prints a line for each program; fails when one of them is wrong.
set -u
linker=$(readlink -f "$1") sources=$(readlink -f "$2")
work=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-real-XXXXXX") || exit 2
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/programs.sh"
mkdir "$work/bin" && ln -s "$linker" "$work/bin/ld"
failures=0

# objects NAME COMPILER FLAGS SOURCE...: compiles into $work/NAME.COMPILER, two at a time.
objects() {
  local to=$work/$1.$2 compiler=$2 flags=$3
  shift 3
  mkdir -p "$to"
  printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c \
    'o=$(basename "$1"); '"$compiler $flags"' -w -c "$1" -o "'"$to"'/${o%.*}.o"' sh {} || exit 1
}

# program NAME LIBRARIES RUN: for each compiler's objects, driver and kind, RUN (a function of the program) must print
# what it prints of the system's link.
program() {
  local name=$1 libraries=$2 run=$3 compiler driver kind expected got select
  for compiler in gcc clang; do
    gcc "$work/$name.$compiler"/*.o $libraries -o "$work/expected" || exit 1
    expected=$($run "$work/expected" 2>&1)
    for driver in gcc clang; do
      select=-B$work/bin
      [ $driver = gcc ] || select=--ld-path=$work/bin/ld
      for kind in -pie -static -rdynamic; do
        if $driver "$select" $kind "$work/$name.$compiler"/*.o $libraries -o "$work/program" >"$work/messages" 2>&1 &&
          got=$($run "$work/program" 2>&1) && [ "$got" = "$expected" ]; then
          echo "ok: $name, objects of $compiler, linked by $driver $kind"
        else
          echo "FAILED: $name, objects of $compiler, linked by $driver $kind"
          head -5 "$work/messages"
          diff <(echo "$expected") <(echo "${got:-}") | head -5
          failures=$((failures + 1))
        fi
      done
    done
  done
}

# Quick ones: what matters here is what the linker is given, not how it was made.
declare -A flags=([lua]=-O1 [sqlite]="-O0 -g" [zstd]="-O1 -g -ffunction-sections -fdata-sections")
for compiler in gcc clang; do
  for name in lua sqlite zstd; do
    objects $name $compiler "${flags[$name]} $(flags_of $name)" $(sources_of $name)
  done
done
program lua "$(libraries_of lua)" run_lua
program sqlite "$(libraries_of sqlite)" run_sqlite
program zstd "$(libraries_of zstd) -Wl,--gc-sections" run_zstd
echo "$failures failures"
[ $failures -eq 0 ]
