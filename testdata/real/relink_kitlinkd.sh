#!/bin/bash
# Links kitlinkd by Bazel's own link command, but through kitlink; edits the daemon's source, compiles it by Bazel's own
# compile command, links again, and lets the result link a program:
#   relink_kitlinkd.sh [BAZEL_OPTION]...
# Runs Bazel in the checkout (BAZEL says how to call it) and builds all that is needed. As Bazel does, the output is
# removed before each link and write-protected after it. Prints a line for each link. With options of the caller's, any
# outcome will do: optimised, an edit may change what is inlined elsewhere in the file.
set -u
configured=$#
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." || exit 2
root=$PWD
bazel() { command ${BAZEL:-bazel} "$@" </dev/null; }
top=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-replay-XXXXXX") || exit 2
unset KITLINK_SOCKET KITLINK_STATE_DIR KITLINK_DETECT
export XDG_RUNTIME_DIR=$top/run XDG_STATE_HOME=$top/state KITLINK_DAEMON=require
mkdir -m 700 "$XDG_RUNTIME_DIR"
prefix=$top/prefix second=$top/second
finish() {
  "$prefix/bin/kitlinkc" stop >/dev/null 2>&1
  XDG_RUNTIME_DIR=$top/run2 "$prefix/bin/kitlinkc" stop >/dev/null 2>&1
  [ -n "${KEEP:-}" ] || rm -rf "$top"
}
trap finish EXIT
failures=0
fail() {
  echo "  FAILED: $*"
  failures=$((failures + 1))
}

bazel build --noshow_progress --show_result=0 "$@" //daemon:kitlinkd //daemon:kitlink-link //client:kitlinkc //client:ld.kit || exit 1
execroot=$(bazel info "$@" execution_root 2>/dev/null) built=$(bazel info "$@" bazel-bin 2>/dev/null)
for folder in "$prefix" "$second"; do
  mkdir -p "$folder/bin" "$folder/libexec/kitlink"
  cp "$built"/daemon/kitlinkd "$built"/client/{kitlinkc,ld.kit} "$folder/bin"
  cp "$built/daemon/kitlink-link" "$folder/libexec/kitlink"
  ln -s ../../bin/ld.kit "$folder/libexec/kitlink/ld"
done
# Bazel asks gcc for gold, by that name.
ln -s ../../bin/ld.kit "$prefix/libexec/kitlink/ld.gold"

# The link: gcc with a response file, whose objects we copy to the same places below a folder of our own.
work=$top/work
parameters=${built#"$execroot"/}/daemon/kitlinkd-2.params
output=${built#"$execroot"/}/daemon/kitlinkd
mkdir -p "$work/${output%/*}"
(cd "$execroot" && grep '^bazel-out/.*\.[oa]$' "$parameters" | xargs cp --parents -Lt "$work") || exit 1
cp "$execroot/$parameters" "$work/parameters"
chmod -R u+w "$work"

# The command that compiles daemon.cc, for a shell: the one of several that makes the object that is linked.
object=$(grep -E '/daemon/daemon(\.pic)?\.o$' "$work/parameters")
compile=$(bazel aquery "$@" 'mnemonic("CppCompile", //daemon:daemon)' 2>/dev/null |
  awk -v object="$object" '
    /Command Line: \(exec/ { text = ""; inside = 1; sub(/^ *Command Line: \(exec /, "") }
    inside { text = (text == "" ? "" : text "\n") $0 }
    inside && /\)$/ { inside = 0; if (index(text, " " object ")")) { sub(/\)$/, "", text); print text; exit } }')
[ -n "$compile" ] || { echo "no command that compiles daemon.cc" >&2; exit 1; }
edited=$top/daemon.cc
cp daemon/daemon.cc "$edited"

# link TITLE OUTCOME REASON: by Bazel's command, then compared, then put to work.
link() {
  local answer
  rm -f "$work/$output"
  (cd "$work" && gcc "-B$prefix/libexec/kitlink" @parameters) >"$top/messages" 2>&1 || fail "$1: $(head -3 "$top/messages")"
  chmod 555 "$work/$output"
  answer=$(cd "$work" && "$prefix/bin/kitlinkc" explain "$output" | tail -n 2)
  echo "kitlinkd: $1: $(head -1 <<<"$answer")"
  local json
  json=$("$prefix/bin/kitlinkc" explain "$work/$output" --json | tail -n 1)
  # shellcheck disable=SC2053
  [[ $configured -gt 0 || $json == *'"outcome":"'$2'","reason":"'$3'"'* ]] || fail "expected $2 ($3)"
  "$prefix/bin/kitlinkc" verify "$work/$output" >"$top/verified" 2>&1 || fail "verify: $(head -5 "$top/verified")"
  put_to_work
}

# The relinked daemon serves a link, a relink and a verification.
put_to_work() {
  local answer
  cp -f "$work/$output" "$second/bin/kitlinkd"
  (
    export XDG_RUNTIME_DIR=$top/run2 XDG_STATE_HOME=$top/state2
    mkdir -p -m 700 "$XDG_RUNTIME_DIR"
    cd "$top" || exit 1
    echo 'int puts(const char *); int main() { puts("hello"); return 0; }' >hello.c
    rm -f hello
    gcc -c hello.c && gcc "-B$second/libexec/kitlink" hello.o -o hello && [ "$(./hello)" = hello ] &&
      "$second/bin/kitlinkc" relink hello >/dev/null &&  # returns when the daemon has taken note of hello.o
      sed -i s/hello/adieu/ hello.c && gcc -c hello.c && gcc "-B$second/libexec/kitlink" hello.o -o hello &&
      [ "$(./hello)" = adieu ] && "$second/bin/kitlinkc" explain hello --json | tail -n 1 | grep -q '"PATCHED"' &&
      "$second/bin/kitlinkc" verify hello >/dev/null
    result=$?
    [ $result -eq 0 ] || "$second/bin/kitlinkc" explain hello
    "$second/bin/kitlinkc" stop >/dev/null 2>&1
    exit $result
  ) || fail "the relinked daemon does not work"
}

# edit SED_SCRIPT
edit() {
  cp "$edited" "$top/before.cc"
  sed -i -E "$1" "$edited"
  ! cmp -s "$edited" "$top/before.cc" || fail "the edit changes nothing"
  local command=${compile//$'\\\n'/ }
  eval "set -- $command"
  local word words=()
  for word in "$@"; do
    case $word in
      daemon/daemon.cc) word=$edited ;;
      *.d) word=$top/daemon.d ;;
      "$object") word=$work/$object ;;
    esac
    words+=("$word")
  done
  (cd "$execroot" && "${words[@]}" -iquote "$root") || fail "does not compile"
}

link "first link" FULL first-link
# Bazel is quicker than the daemon, which could not know that the output would be removed. From now on it does.
link "the same again" "*" "*"
edit 's/usage: kitlinkd/how to call it: kitlinkd/'
link "a longer string" PATCHED none
"$work/$output" --help | grep -q '^how to call it: kitlinkd' || fail "the edit does not show"
edit '/arg == "--version"/,/\}/ s/\*status = 0;/*status = 7;/'
link "a body" PATCHED none
"$work/$output" --version >/dev/null
[ $? -eq 7 ] || fail "the edit does not show"
edit '/arg == "--version"/,/\}/ s/(printf\("kitlinkd .*\);)/\1 \1 for (int n = 0; n < 1; ++n) \1/'
link "growth" PATCHED none
[ "$("$work/$output" --version | wc -l)" = 3 ] || fail "the edit does not show"
edit '$ a int kitlink_edited_by_a_test = 1;'
link "a new global variable" PATCHED none
edit 's/n < 1;/n < 2;/'
link "a body once more" PATCHED none
[ "$("$work/$output" --version | wc -l)" = 4 ] || fail "the edit does not show"
echo "$failures failures"
[ $failures -eq 0 ]
