# Directives of relink tests, sourced by run_tests.sh (testdata/README.md describes them). Each test has a tool process
# that keeps its outputs' sessions hot; links reach it through session_ld.sh.
# shellcheck shell=bash
# shellcheck source=/dev/null
. "$(dirname "$DIRECTIVES")/tool_steps.sh"

begin_test() {
  export SESSION_DIR=$dir.session
  mkdir -p "$SESSION_DIR" && mkfifo "$SESSION_DIR/in" "$SESSION_DIR/out" || exit 2
  "$RELINK_TOOL" "$SESSION_DIR/in" "$SESSION_DIR/out" 2>"$SESSION_DIR/log" &
  relink_tool=$!
  declare -gA commands=()
  target=
}

# Runs wherever a step has failed, so its name must not be one that a function has made local.
end_test() { [ -z "${relink_tool:-}" ] || kill "$relink_tool" 2>/dev/null; }

# remember_link DRIVER ARGUMENT...: after a first link, what @relink repeats and what later images are compared with.
remember_link() {
  local word previous=
  target=a.out
  for word in "$@"; do
    [ "$previous" != -o ] || target=$word
    previous=$word
  done
  commands[$target]=$(printf '%q ' "$@")
  mkdir -p "$SESSION_DIR/first"
  [ -f "$SESSION_DIR/first/$target" ] || cp "$target" "$SESSION_DIR/first/$target"
}

link_again() {
  eval "set -- ${commands[$target]}"
  local driver=$1
  shift
  "$driver" "$(use_linker)" "$@" >.output 2>&1
}

# relink [OUTPUT:] OUTCOME [REASON] [KEY=VALUE...]
relink() {
  case $1 in *:) target=${1%:}; shift ;; esac
  local wanted="outcome=$1" words
  shift
  kill -0 "$relink_tool" 2>/dev/null || fail "the tool is dead: $(cat "$SESSION_DIR/log")"
  cp -p "$target" .before 2>/dev/null
  link_again || fail "does not link: $(cat .reply)"
  if [ -n "$block" ]; then expect_lines; else [ ! -s .output ] || fail "the linker complains"; fi
  # For run_twice.sh.
  [ -z "${KITLINK_TEST_IMAGES:-}" ] || cp "$target" "$KITLINK_TEST_IMAGES/$(basename "$dir").$line.$(basename "$target")"
  words=$(tail -n 1 .reply)
  expect_field "$wanted"
  # A session that has been taken up has linked nothing in full.
  [ -z "${RELINK_RESTART:-}" ] || [ "$wanted" != outcome=PATCHED ] || expect_field full_resolves=0
  [ $# -gt 0 ] || set -- none
  for wanted in "$@"; do
    case $wanted in
      full_resolves=*) [ -n "${RELINK_RESTART:-}" ] || expect_field "$wanted" ;;
      inputs_read=* | bytes_read=*) [ "${KITLINK_TEST_AGE:-}" = young ] || expect_field "$wanted" ;;
      *=*) expect_field "$wanted" ;;
      any) ;;
      *) expect_field "reason=$wanted" ;;
    esac
  done
}

expect_field() {
  case " $words " in
    *" $1 "*) ;;
    *) fail "expected $1, not $words" ;;
  esac
}

# address IMAGE SYMBOL
address() {
  local found
  found=$(nm "$1" | awk -v name="$2" '$3 == name { print $1; exit }')
  [ -n "$found" ] || fail "no symbol $2 in $1"
  echo "$found"
}

# body IMAGE SYMBOL: the bytes of a function, without addresses; if calls may follow what they lead to, its instructions.
body() {
  local column=2
  [ "$(policy)" = thunk ] || column=3
  objdump -d --disassemble="$2" "$1" | awk -F '\t' -v column=$column 'NF > 1 { sub(/ .*/, "", $3); print $column }'
}

# How functions of $target move.
policy() {
  local words=${commands[$target]}
  case $words in
    *--move=*) words=${words#*--move=} && echo "${words%%[ ,]*}" ;;
    *) echo "${MOVE:-auto}" ;;
  esac
}

# jumps IMAGE FROM TO: whether there is an island.
jumps() {
  objdump -d --start-address="0x$2" --stop-address="$((16#$2 + 9))" "$1" >.output
  grep -qE "jmp.*[ x]0*${3##+(0)}( |$)" .output
}

extra_step() {
  local first=$SESSION_DIR/first/$target symbol was now
  case $directive in
    edit) sed -i -E "$2" "$1" || fail "cannot edit" ;;
    relink) relink "$@" ;;
    restart)  # restart [OUTPUT]
      exec 9<>"$SESSION_DIR/out"
      exec 8<>"$SESSION_DIR/in"
      printf 'restart %s\n' "$PWD/${1:-$target}" >&8
      local words=
      IFS= read -r -t 60 -u 9 words
      [ "$words" = "result: done" ] || fail "does not restart: $words" ;;
    idle)  # idle [OUTPUT]
      exec 9<>"$SESSION_DIR/out"
      exec 8<>"$SESSION_DIR/in"
      printf 'idle %s\n' "$PWD/${1:-$target}" >&8
      local words=
      while IFS= read -r -t 60 -u 9 words; do
        case $words in "result: "*) break ;; esac
      done
      case $words in *verdict=EQUIVALENT*) ;; *) fail "differs: $words" ;; esac ;;
    relink-fails)
      case ${1:-} in *:) target=${1%:} ;; esac
      cp -p "$target" .before
      ! link_again || fail "links"
      expect_lines
      # clang's driver removes what it could not link, gcc's leaves it.
      [ ! -e "$target" ] || cmp "$target" .before >.output || fail "the output has changed" ;;
    relink-changed)  # relink-changed OUTPUT 'PATH[=CONTENT]...' OUTCOME [REASON] [KEY=VALUE...]
      exec 9<>"$SESSION_DIR/out"
      exec 8<>"$SESSION_DIR/in"
      printf 'relink %s %s\n' "$PWD/$1" "$2" >&8
      local words=
      while IFS= read -r -t 60 -u 9 words; do
        case $words in "result: "*) break ;; esac
      done
      shift 2
      case $1 in
        error) case $words in *error=*) ;; *) fail "no error: $words" ;; esac ;;
        *) expect_field "outcome=$1"; expect_field "reason=${2:-none}"
           for wanted in "${@:3}"; do expect_field "$wanted"; done ;;
      esac ;;
    stable)
      for symbol in "$@"; do
        was=$(address "$first" "$symbol") && now=$(address "$target" "$symbol") || exit 1
        [ "$was" = "$now" ] || fail "$symbol went from $was to $now"
      done ;;
    moved)  # moved [jump: | no-jump:] SYMBOL...
      local leaves
      leaves=$(policy)
      case ${1:-} in *:) leaves=${1%:}; shift ;; esac
      for symbol in "$@"; do
        was=$(address "$first" "$symbol") && now=$(address "$target" "$symbol") || exit 1
        [ "$was" != "$now" ] || fail "$symbol is still at $was"
        case $leaves in
          jump | thunk) jumps "$target" "$was" "$now" || fail "no jump to $now at $was" ;;
          no-jump | reapply) ! jumps "$target" "$was" "$now" || fail "a jump to $now at $was" ;;
          auto | got) ;;
          *) fail "$leaves?" ;;
        esac
      done ;;
    same-bytes)
      for symbol in "$@"; do
        [ "$(body "$first" "$symbol")" = "$(body "$target" "$symbol")" ] || fail "$symbol has other bytes"
      done ;;
    tools) tools "$@" ;;
    gdb) gdb_session ;;
    build-id) /usr/bin/python3 -B "$(dirname "$DIRECTIVES")/build_id.py" "${1:-$target}" >.output 2>&1 || fail "not the id of what is in the file" ;;
    newer) [ "$target" -nt .before ] || fail "$target is as old as before" ;;
    *) fail "unknown directive" ;;
  esac
}
shopt -s extglob
