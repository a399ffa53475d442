# Directives that drive debuggers and their like, sourced by relink_steps.sh.
# shellcheck shell=bash

# fresh_link: links what the last link linked, from scratch and in a process of its own, to $SESSION_DIR/fresh.
fresh_link() {
  mkdir -p "$SESSION_DIR/cold-bin"
  ln -sf "$COLD_LD" "$SESSION_DIR/cold-bin/ld"
  eval "set -- ${commands[$target]}"
  local driver=$1 use=-B$SESSION_DIR/cold-bin
  shift
  case $compiler in clang*) use=--ld-path=$SESSION_DIR/cold-bin/ld ;; esac
  "$driver" "$use" "$@" -o "$SESSION_DIR/fresh" >.output 2>&1 || fail "a fresh link fails"
}

# tools [OUTPUT:] [UNCHANGED SOURCE...]: see tool_checks.py.
tools() {
  case ${1:-} in *:) target=${1%:}; shift ;; esac
  fresh_link
  [ $# -eq 0 ] || set -- .before "$@"
  python3 -B "$(dirname "$DIRECTIVES")/tool_checks.py" "$target" "$SESSION_DIR/fresh" "$@" >.output 2>&1 ||
    fail "tools disagree with what they say of a fresh link"
}

# gdb: the block's commands give the same for the output and for a fresh link, addresses aside; the lines of the block
# that begin with "> " must be part of what gdb prints.
gdb_session() {
  local image
  fresh_link
  grep -v '^> ' <<<"$block" >"$SESSION_DIR/commands"
  for image in "$target" "$SESSION_DIR/fresh"; do
    timeout 60 gdb -nx -batch -x "$SESSION_DIR/commands" "$image" 2>&1 |
      sed -E "s#$SESSION_DIR/fresh#$target#g; s#$PWD/##g; s/0x[0-9a-f]+/ADDRESS/g; s#^process [0-9]+#process#; s/\[Inferior 1 \(process [0-9]+\)/[Inferior/" \
        >"$SESSION_DIR/said.${image##*/}"
  done
  cp "$SESSION_DIR/said.${target##*/}" .output
  block=$(grep '^> ' <<<"$block" | sed 's/^> //')
  expect_lines
  diff "$SESSION_DIR/said.fresh" "$SESSION_DIR/said.${target##*/}" >.output || fail "gdb says something else of a fresh link"
}
