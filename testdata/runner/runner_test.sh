#!/bin/bash
# The runner's own test: nothing that a test started outlives it, and a failed step is noticed.
#   runner_test.sh RUN_RELINKS_SH RELINK_TOOL
set -u
runner=$1 real=$(readlink -f "$2") failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-runner-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
unset TEST_SHARD_STATUS_FILE TEST_TOTAL_SHARDS TEST_SHARD_INDEX
export COMPILERS=gcc KEEP= PIDS=$work/pids

wrong() {
  echo "FAILED: $1" >&2
  failed=1
}

# A tool that says who it is, and either is the real one or waits for ever.
printf '#!/bin/bash\necho $$ >>"$PIDS"\nexec %q "$@"\n' "$real" >"$work/real"
printf '#!/bin/bash\necho $$ >>"$PIDS"\nexec sleep 600\n' >"$work/waiting"
chmod +x "$work/real" "$work/waiting"

# Each test waits until its tool is there.
write_test() { { echo '@shell until [ -s "$PIDS" ]; do sleep 0.01; done'; cat; } >"$work/$1.test"; }
write_test compile_fails <<'END'
@compile missing.c
END
write_test file_fails <<'END'
@file .
some text
END
write_test step_fails <<'END'
@shell echo one
two
END
write_test unknown_step <<'END'
@nothing
END
write_test passes <<'END'
@file folder/words
one
@shell cat; cat folder/words
one
END
write_test skips <<'END'
@needs false
@nothing
END
write_test leaves_children <<'END'
@shell sleep 600 >/dev/null 2>&1 & echo $! >>"$PIDS"
END
write_test waits <<'END'
@shell exec sleep 5
END

alive() {
  local pid
  while read -r pid; do
    [ "$(ps -o stat= -p "$pid" | cut -c 1)" != "" ] && [ "$(ps -o stat= -p "$pid" | cut -c 1)" != Z ] && return 0
  done <"$PIDS"
  return 1
}

# expect_ended WHAT: within two seconds.
expect_ended() {
  local i
  [ -s "$PIDS" ] || wrong "$1: nothing was started"
  for ((i = 0; i < 40; i++)); do
    alive || return
    sleep 0.05
  done
  wrong "$1: $(xargs ps -o pid=,args= -p <"$PIDS" | head -3) still runs"
  xargs kill -9 <"$PIDS" 2>/dev/null
}

# expect STATUS TOOL TEST
expect() {
  : >"$PIDS"
  "$runner" "$work/$2" /bin/true "$work/$3.test" >"$work/log" 2>&1
  [ $? -eq "$1" ] || { wrong "$3 with $2: not status $1"; cat "$work/log" >&2; }
  expect_ended "$3 with $2"
}

for tool in waiting real; do
  for test in compile_fails file_fails step_fails unknown_step; do expect 1 $tool $test; done
  for test in passes skips leaves_children; do expect 0 $tool $test; done
  "$runner" "$work/$tool" /bin/true "$work/skips.test" 2>&1 | grep -q '^1 runs, 0 failed, 1 skipped' || wrong "does not say that it skips"
done

# A runner that is told to end, or a test that is killed, takes its tool along.
start_waiting() {
  local i
  : >"$PIDS"
  "$runner" "$work/real" /bin/true "$work/waits.test" >"$work/log" 2>&1 &
  for ((i = 0; i < 100 && $(wc -l <"$PIDS") == 0; i++)); do sleep 0.05; done
}
start_waiting
kill $!
wait $! 2>/dev/null
expect_ended "after SIGTERM to the runner"
start_waiting
sleep 0.3  # the tool has begun to listen
parent=$(ps -o ppid= -p "$(head -n 1 "$PIDS")")
{ kill -9 $! "$parent"; wait $!; } 2>/dev/null
wait $! 2>/dev/null
expect_ended "after SIGKILL to runner and test"
exit $failed
