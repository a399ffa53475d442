#!/usr/bin/env bash
# What the doctor says of compile commands: doctor_test.sh KITLINKC
set -u
kitlinkc=$(readlink -f "$1")
top=$(mktemp -d) || exit 1
trap 'rm -rf "$top"' EXIT
cd "$top" || exit 1
failures=0
fail() {
  echo "FAIL: $*" >&2
  failures=$((failures + 1))
}
# expect STATUS CHECK GRADE COMMAND...: what the doctor says of one thing, and its exit status.
expect() {
  local status=$1 check=$2 grade=$3 said got
  shift 3
  said=$("$kitlinkc" doctor -- "$@")
  got=$?
  [ "$got" -eq "$status" ] || fail "exit status $got, not $status: $said"
  grep -qE "^  $grade +$check " <<<"$said" || fail "not $grade, $check: $said"
}

printf '#include "part.h"\n#include <stddef.h>\nint first(void) { static int calls; return ++calls; }\nint second(void) { return part; }\n' >source.c
printf 'enum { part = 5 };\n' >part.h
printf '#include "part.h"\n#include <vector>\nstatic int helper(int n) { return n + part; }\nint sum(const std::vector<int>& list) { int s = 0; for (int each : list) s += helper(each); return s; }\n' >source.cc
printf 'const char* when(void); const char* when(void) { return __DATE__ " " __TIME__; }\n' >time.c
printf 'const char* here(void); const char* here(void) { return __FILE__; }\n' >file.c
cp -R . ../"$(basename "$top")".copy && before=$top.copy
trap 'rm -rf "$top" "$top.copy"' EXIT

for compiler in gcc clang; do
  cxx=${compiler/gcc/g}
  cxx=$cxx++
  split="-ffunction-sections -fdata-sections"
  for check in sections debug deterministic folder dependencies; do
    # shellcheck disable=SC2086
    expect 0 $check good $compiler -g -O0 $split -MD -MF deps.d -c source.c -o source.o
    # shellcheck disable=SC2086
    expect 0 $check good $cxx -g -O2 $split -MD -c source.cc
  done
  expect 0 sections note $compiler -g -c source.c
  expect 0 debug note $compiler -c source.c
  expect 0 dependencies note $compiler -c source.c
  expect 0 dependencies note $compiler -MMD -c source.c
  expect 1 deterministic bad $compiler -c time.c
  expect 1 object bad $compiler -flto -c source.c
  expect 2 command unknown $compiler source.o -o program
  expect 2 command unknown $compiler -c no_such_file.c
done
expect 0 names good gcc -c source.c
expect 0 names good clang -c source.c
expect 2 command unknown no-such-compiler -c source.c

# A list that lies: the compiler is told to leave a header out.
cat >liar <<'END'
#!/bin/sh
# Compiles, and forgets part.h in the list of dependencies.
gcc "$@" || exit
while [ $# -gt 0 ]; do [ "$1" != -MF ] || sed -i 's/part\.h//' "$2"; shift; done
END
chmod +x liar
expect 1 dependencies bad ./liar -MD -c source.c

# Nothing of the user's is written.
rm liar
diff -r . "$before" >&2 || fail "something was written"

# Without a command: the machine's compilers.
said=$("$kitlinkc" doctor) || fail "the machine's compilers: $said"
grep -q '^gcc ' <<<"$said" || fail "no gcc: $said"
[ "$("$kitlinkc" doctor --json -- gcc -MD -c source.c | grep -c '"check":"deterministic","grade":"good"')" -eq 1 ] || fail "no JSON"
"$kitlinkc" doctor --wrong >/dev/null 2>&1
[ $? -eq 2 ] || fail "a wrong option"
[ $failures -eq 0 ] && echo passed
