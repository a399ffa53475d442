#!/bin/bash
# Runs directive tests (testdata/README.md describes the format) with a linker:
#   run_tests.sh LINKER TEST...
# Environment: COMPILERS (default "gcc clang": each test runs once with each), KEEP=1 (keep the work folders), MOVES (the
# policies of run_relinks.sh --moves), KITLINK_TEST_WORK (a folder to work in that is not there yet).
# Under Bazel's sharding each shard takes its part of the tests. DIRECTIVES names a script that adds directives: it is
# sourced and defines extra_step, and may define begin_test, end_test and remember_link.
set -u
LC_ALL=C
export LC_ALL
linker=$(readlink -f "$1") || exit 2
shift
tests=("$@")

work=${KITLINK_TEST_WORK:-$(mktemp -d "${TMPDIR:-/tmp}/kitlink-test-XXXXXX")} && mkdir -p "$work" || exit 2
running=
# Nothing that a test started outlives it: each is a process group.
end_group() {
  [ -z "$running" ] || kill -- "-$running" 2>/dev/null
  running=
}
finish() {
  end_group
  [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT
trap 'exit 143' TERM INT HUP
mkdir "$work/bin" && ln -s "$linker" "$work/bin/ld" || exit 2
# Bazel's sharding is this script's business: programs under test must not split themselves, too.
[ -z "${TEST_SHARD_STATUS_FILE:-}" ] || touch "$TEST_SHARD_STATUS_FILE"
shards=${TEST_TOTAL_SHARDS:-1} shard=${TEST_SHARD_INDEX:-0}
unset TEST_SHARD_STATUS_FILE TEST_TOTAL_SHARDS TEST_SHARD_INDEX ${!GTEST_@}

# fail MESSAGE: ends the test that runs (each runs in a subshell).
fail() {
  echo "FAILED: $name ($compiler${MOVE:+, --move=$MOVE}), line $line: @$directive $arguments" >&2
  echo "  $1" >&2
  [ ! -s "$dir/.output" ] || sed 's/^/  | /' "$dir/.output" | head -40 >&2
  exit 1
}

# skip: ends the test that runs, and says so: what it needs is not there.
skip() {
  echo "SKIPPED: $name ($compiler${MOVE:+, --move=$MOVE}) from line $line: @$directive $arguments" >&2
  exit 77
}

cxx() { case $compiler in gcc) echo g++ ;; clang) echo clang++ ;; *) echo "$compiler" ;; esac; }
use_linker() { case $compiler in clang*) echo "--ld-path=$work/bin/ld" ;; *) echo "-B$work/bin" ;; esac; }

compile() {
  local flags=() tool
  # For run_twice.sh: objects do not name the folder, which is another the second time.
  [ -z "${KITLINK_TEST_IMAGES:-}" ] || flags=("-ffile-prefix-map=$PWD=.")
  for word in "$@"; do
    case $word in
      *.c | *.s | *.S) tool=$compiler ;;
      *.cc) tool=$(cxx) ;;
      *) flags+=("$word"); continue ;;
    esac
    $tool -c "${flags[@]}" "$word" -o "${word%.*}.o" >.output 2>&1 || fail "does not compile"
  done
}

# The lines of $block against .output: exactly, each inside, none inside.
expect_exactly() { [ "$(cat .output)" = "$(printf %s "$block")" ] || fail "expected: $block"; }
expect_lines() {
  local wanted
  while IFS= read -r wanted; do
    [ -z "$wanted" ] || grep -qF -- "$wanted" .output || fail "not in the output: $wanted"
  done <<<"$block"
}
expect_no_lines() {
  local unwanted
  while IFS= read -r unwanted; do
    [ -z "$unwanted" ] || ! grep -qF -- "$unwanted" .output || fail "in the output: $unwanted"
  done <<<"$block"
}

step() {
  local driver status
  case $directive in
    shell | contains | lacks | needs) set -- ;;  # command lines, which may hold pipes
    *) eval "set -- $arguments" ;;
  esac
  : >.output
  case $directive in
    file)
      case $1 in */*) mkdir -p "${1%/*}" ;; esac
      printf %s "$block" >"$1" || fail "cannot be written" ;;
    compile) compile "$@" ;;
    archive) rm -f "$1" && ar rcs "$@" >.output 2>&1 || fail "ar failed" ;;
    link | link++ | link-fails | link++-fails | link-warns)
      driver=$compiler
      case $directive in link++*) driver=$(cxx) ;; esac
      $driver "$(use_linker)" "$@" >.output 2>&1
      status=$?
      case $directive in
        *-fails) [ $status -ne 0 ] || fail "links" ;;
        *-warns) [ $status -eq 0 ] || fail "does not link"
                 remember_link $driver "$@" ;;
        *) [ $status -eq 0 ] || fail "does not link"
           [ ! -s .output ] || fail "the linker complains"
           remember_link $driver "$@" ;;
      esac
      expect_lines ;;
    ld | ld-fails)
      "$work/bin/ld" "$@" >.output 2>&1
      status=$?
      [ "$directive" = ld-fails ] || [ $status -eq 0 ] || fail "does not link"
      [ "$directive" = ld ] || [ $status -eq 1 ] || [ $status -eq 2 ] || fail "links, or crashes (status $status)"
      expect_lines ;;
    run)
      timeout 60 "$@" >.output 2>&1
      status=$?
      [ $status -eq "${expected_status:-0}" ] || fail "exit status $status"
      expect_exactly ;;
    shell) (eval "$arguments") >.output 2>&1 || fail "exit status $?"; expect_exactly ;;
    contains) (eval "$arguments") >.output 2>&1 || fail "exit status $?"; expect_lines ;;
    lacks) (eval "$arguments") >.output 2>&1 || fail "exit status $?"; expect_no_lines ;;
    status) expected_status=$1; return ;;
    compilers) case " $* " in *" $compiler "*) ;; *) exit 0 ;; esac ;;
    needs) (eval "$arguments") >.output 2>&1 || skip ;;
    *) extra_step "$@" ;;
  esac
  expected_status=0
}

begin_test() { :; }
end_test() { :; }
remember_link() { :; }
extra_step() { fail "unknown directive"; }
# shellcheck source=/dev/null
[ -z "${DIRECTIVES:-}" ] || . "$DIRECTIVES"

# Splits the test into steps: a line "@directive arguments" and the lines up to the next.
run_test() {
  local text number=0
  directive="" arguments="" block="" line=0 expected_status=0
  cd "$dir" || exit 1
  while IFS= read -r text || [ -n "$text" ]; do
    number=$((number + 1))
    case $text in
      @*)
        [ -z "$directive" ] || step </dev/null
        directive=${text#@}
        arguments=""
        case $directive in *" "*) arguments=${directive#* } directive=${directive%% *} ;; esac
        block="" line=$number ;;
      *) [ -z "$directive" ] || block+=$text$'\n' ;;
    esac
  done <"$1"
  [ -z "$directive" ] || step </dev/null
}

failed=0 skipped=0 count=0 index=0
for test in "${tests[@]}"; do
  index=$((index + 1))
  [ $((index % shards)) -eq "$shard" ] || continue
  name=$(basename "$test" .test)
  path=$(readlink -f "$test")
  for variant in ${MOVES:-default}; do
    [ "$variant" = default ] && MOVE= || MOVE=$variant
    export MOVE
    for compiler in ${COMPILERS:-gcc clang}; do
      dir=$work/$name.$compiler$MOVE
      mkdir -p "$dir"
      count=$((count + 1))
      set -m
      (begin_test; trap end_test EXIT; run_test "$path") &
      running=$!
      set +m
      wait "$running"
      case $? in
        0) ;;
        77) skipped=$((skipped + 1)) ;;
        *) failed=$((failed + 1)) ;;
      esac
      end_group
    done
  done
done
[ $skipped -eq 0 ] && echo "$count runs, $failed failed" || echo "$count runs, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $count -ne 0 ]
