#!/usr/bin/env bash
# Real clients and a real daemon process (over a fake linker): who starts it, how it ends, what happens when it is old,
# dead, busy or somebody else's. Each test gets a folder, a prefix and a daemon of its own.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${TEST_SRCDIR:-$here}/${TEST_WORKSPACE:-}
find_program() {
  local path
  for path in "$root/$1" "${PROGRAMS:-}/$(basename "$1")"; do
    [[ -x $path ]] && { readlink -f "$path"; return; }
  done
  echo "no $1" >&2
  exit 1
}
ld_kit=$(find_program client/ld.kit)
kitlinkc=$(find_program client/kitlinkc)
daemon=$(find_program daemon/testing/fake_kitlinkd)
as_user=$(find_program daemon/testing/as_user)

top=$(mktemp -d /tmp/kitlink-e2e-XXXXXX)
chmod 755 "$top"
failures=0
unset XDG_RUNTIME_DIR XDG_STATE_HOME KITLINK_DAEMON KITLINK_SOCKET HOME

fail() {
  echo "FAIL: $current: $*" >&2
  failures=$((failures + 1))
}
expect_eq() { [[ $1 == "$2" ]] || fail "${3:-}: got '$1', expected '$2'"; }
expect_match() { [[ $1 == *$2* ]] || fail "'$2' is not in '$1'"; }
daemon_pid() { "$kitlinkc" version --json | sed -n 's/.*"pid":\([0-9]*\)}/\1/p'; }
gone() { # PID: waits until the process is gone
  timeout 20 tail --pid="$1" -f /dev/null || fail "process $1 is still there"
}
await() { # PATH
  local i
  for i in $(seq 2000); do [[ -e $1 ]] && return; sleep 0.005; done
  fail "$1 does not appear"
}

# The pid of a daemon that was just started. (Its socket is there a moment before it listens.)
await_daemon() {
  local i pid
  for i in $(seq 2000); do
    pid=$(daemon_pid)
    if [[ ${pid:-0} != 0 ]]; then
      echo "$pid"
      return
    fi
    sleep 0.005
  done
  fail "no daemon can be reached"
}

# A prefix as tools/install lays it out, and a folder with two inputs, which is the current one afterwards.
setup() {
  current=$1
  work=$top/$1
  prefix=$work/prefix
  mkdir -p "$prefix/bin" "$prefix/libexec/kitlink" "$work/src" "$work/run"
  chmod 700 "$work/run"
  cp "$ld_kit" "$prefix/bin/ld.kit"
  cp "$daemon" "$prefix/bin/kitlinkd"
  cat >"$prefix/libexec/kitlink/kitlink-link" <<'END'
#!/bin/sh
echo "alone: $*" >&2
exit 0
END
  chmod +x "$prefix/libexec/kitlink/kitlink-link"
  ln -s ../../bin/ld.kit "$prefix/libexec/kitlink/ld"
  ld=$prefix/bin/ld.kit
  export KITLINK_SOCKET=$work/run/s KITLINK_STATE_DIR=$work/state
  unset KITLINK_DAEMON KITLINK_IDLE_SECONDS XDG_RUNTIME_DIR
  cd "$work/src" || exit 1
  echo hello >a
  echo world >b
}
teardown() { timeout 20 "$kitlinkc" stop >/dev/null 2>&1; }

test_spawn_race() {
  setup spawn_race
  local i
  for i in $(seq 20); do KITLINK_DAEMON=require timeout 30 "$ld" a b -o "out$i" & done
  for i in $(seq 20); do wait -n || fail "a client failed"; done
  for i in $(seq 20); do expect_eq "$(cat "out$i")" $'hello\nworld' "out$i"; done
  expect_eq "$(grep -c ' serves ' "$KITLINK_STATE_DIR/kitlinkd.log")" 1 "daemons started"
  teardown
}

test_pipelines_end() {
  setup pipelines_end
  timeout 10 bash -c '"$0" a -o out 2>&1 | cat; exit ${PIPESTATUS[0]}' "$ld" || fail "the pipeline hangs or fails"
  local pid
  pid=$(daemon_pid)
  expect_eq "$(ps -o sid= -p "$pid" | tr -d ' ')" "$pid" "session of the daemon"
  expect_eq "$(readlink "/proc/$pid/cwd")" / "folder of the daemon"
  expect_eq "$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/1" "/proc/$pid/fd/2" | sort -u)" /dev/null "standard files"
  ls -l "/proc/$pid/fd" | grep -q "$work/src" && fail "the daemon holds descriptors of its client"
  teardown
}

test_environment_stays_behind() {
  setup environment_stays_behind
  BUILD_SECRET=x "$ld" a -o out
  tr '\0' '\n' <"/proc/$(daemon_pid)/environ" | grep -q BUILD_SECRET && fail "the build's environment lives on"
  teardown
}

test_inherited_descriptors() {
  setup inherited_descriptors
  # Descriptor 3 and many others in use, as under make's job server.
  ( exec 3<a 5<a 77<a; "$ld" a -o out ) || fail "failed"
  ls -l "/proc/$(daemon_pid)/fd" | grep -q "$work/src/a" && fail "the daemon holds descriptors of its client"
  teardown
}

test_paths_are_the_clients() {
  setup paths_are_the_clients
  mkdir one two
  echo 1 >one/x
  echo 2 >two/x
  (cd one && "$ld" x -o out) || fail "one"
  (cd two && "$ld" x -o out) || fail "two"
  expect_eq "$(cat one/out two/out | tr '\n' ' ')" "1 2 " "contents"
  (umask 027; "$ld" a -o masked)
  expect_eq "$(stat -c %a masked)" 750 "mode under umask 027"
  (umask 022; "$ld" a -o masked)
  expect_eq "$(stat -c %a masked)" 755 "mode under umask 022"
  teardown
}

test_diagnostics_and_exit_status() {
  setup diagnostics_and_exit_status
  expect_eq "$("$ld" a --fake-error=$'undefined symbol: f\n>>> referenced by a' -o out 2>&1; echo $?)" \
    $'ld.kit: error: undefined symbol: f\n>>> referenced by a\n1' "link error"
  expect_eq "$("$ld" a --bogus 2>&1; echo $?)" $'ld.kit: error: unknown option: --bogus\n2' "usage"
  expect_eq "$("$ld" a --fake-warning=w -o out 2>&1; echo $?)" $'ld.kit: warning: w\n0' "warning"
  expect_eq "$("$ld" missing -o out 2>&1; echo $?)" $'ld.kit: error: missing: No such file or directory\n1' "input"
  expect_eq "$("$ld" a -o none/out 2>&1; echo $?)" \
    $'ld.kit: error: cannot open output file none/out: No such file or directory\n1' "output"
  expect_match "$("$ld" --version)" "compatible with GNU ld"
  expect_match "$("$ld" -v)" "compatible with GNU ld"
  teardown
}

test_switched_off() {
  setup switched_off
  expect_eq "$(KITLINK_DAEMON=off "$ld" a -o out 2>&1)" "alone: a -o out"
  expect_eq "$(KITLINK_DAEMON=off "$prefix/libexec/kitlink/ld" a 2>&1)" "alone: a" "through the link that gcc uses"
  [[ -e $KITLINK_SOCKET ]] && fail "a daemon was started"
  expect_eq "$(KITLINK_DAEMON=maybe "$ld" a 2>&1 >/dev/null; echo $?)" \
    $'ld.kit: error: KITLINK_DAEMON is none of auto, off, require\n2'
}

test_no_daemon_to_be_had() {
  setup no_daemon_to_be_had
  rm "$prefix/bin/kitlinkd"
  expect_eq "$("$ld" a -o out 2>&1)" "alone: a -o out" "auto"
  KITLINK_DAEMON=require "$ld" a -o out 2>/dev/null
  expect_eq $? 3 "require"
  printf '#!/bin/sh\nexit 1\n' >"$prefix/bin/kitlinkd"
  chmod +x "$prefix/bin/kitlinkd"
  expect_eq "$("$ld" a -o out 2>&1)" "alone: a -o out" "one that does not start"
}

test_daemon_dies_during_a_link() {
  setup daemon_dies_during_a_link
  expect_eq "$("$ld" a --fake-die -o out 2>&1; echo $?)" $'alone: a --fake-die -o out\n0' "auto"
  KITLINK_DAEMON=require "$ld" a --fake-die -o out 2>/dev/null
  expect_eq $? 3 "require"
  KITLINK_DAEMON=require "$ld" a -o out || fail "the next link has no daemon"
  teardown
}

test_stopped_daemon() {
  setup stopped_daemon
  "$ld" a -o out
  local pid
  pid=$(daemon_pid)
  kill -STOP "$pid"
  local began=$SECONDS
  expect_eq "$(timeout 20 "$ld" a -o out 2>&1)" "alone: a -o out"
  ((SECONDS - began <= 8)) || fail "waited twice: $((SECONDS - began)) s"
  kill -CONT "$pid"
  teardown
}

test_other_version_is_replaced() {
  setup other_version_is_replaced
  echo 9.9.9 >"$prefix/bin/kitlinkd.version"
  # The link of an old client is running when the new one comes. (kitlinkc does not mind versions.)
  "$prefix/bin/kitlinkd" &
  local old
  old=$(await_daemon)
  rm "$prefix/bin/kitlinkd.version"
  KITLINK_DAEMON=require "$ld" a -o out || fail "not linked"
  gone "$old"
  wait
  expect_match "$("$kitlinkc" version)" "kitlinkd 0.1.0"
  teardown
}

test_replaced_program_is_replaced() {
  setup replaced_program_is_replaced
  KITLINK_DAEMON=require "$ld" a -o slow --fake-began="$work/began" --fake-wait="$work/go" &
  local client=$!
  await "$work/began"
  local old
  old=$(daemon_pid)
  cp "$daemon" "$prefix/bin/new" && mv "$prefix/bin/new" "$prefix/bin/kitlinkd"
  KITLINK_DAEMON=require "$ld" b -o out &
  local second=$!
  sleep 0.2
  expect_eq "$(cat out 2>/dev/null)" "" "the new daemon starts before the old one's links are done"
  touch "$work/go"
  wait "$client" || fail "the running link was cut off"
  wait "$second" || fail "the client that replaced the daemon failed"
  expect_eq "$(cat slow out)" $'hello\nworld'
  gone "$old"
  teardown
}

test_one_output_in_order_others_beside() {
  setup one_output_in_order_others_beside
  "$ld" a -o same --fake-began="$work/began" --fake-wait="$work/go" &
  local first=$!
  await "$work/began"
  "$ld" b -o same &
  local second=$!
  # Another output does not wait.
  timeout 10 "$ld" b -o other || fail "another output waits"
  expect_eq "$(cat same 2>/dev/null)" "" "the first is not done"
  kill -0 "$second" || fail "the second did not wait"
  touch "$work/go"
  wait "$first" "$second"
  expect_eq "$(cat same)" "world" "the second came last"
  teardown
}

test_cancelled_client() {
  setup cancelled_client
  "$ld" a -o same --fake-began="$work/began" --fake-wait="$work/go" &
  local first=$!
  await "$work/began"
  "$ld" b -o same &
  local second=$!
  sleep 0.1
  kill -9 "$second"
  wait "$second" 2>/dev/null
  sleep 0.2
  touch "$work/go"
  wait "$first" || fail "the first"
  "$ld" a -o other
  expect_eq "$(cat same)" "hello" "the link of a dead client was not begun"
  expect_match "$(cat "$KITLINK_STATE_DIR/kitlinkd.log")" "not begun, the client is gone"
  teardown
}

test_idle_exit() {
  setup idle_exit
  KITLINK_IDLE_SECONDS=1 "$ld" a -o out
  local pid
  pid=$(daemon_pid)
  gone "$pid"
  [[ -e $KITLINK_SOCKET ]] && fail "the socket is still there"
  KITLINK_DAEMON=require "$ld" a -o out || fail "no new daemon"
  teardown
}

test_removed_socket() {
  setup removed_socket
  "$ld" a -o out
  local old
  old=$(daemon_pid)
  # One door is enough, whichever is left.
  rm "$KITLINK_SOCKET.direct"
  KITLINK_DAEMON=require "$ld" a -o out || fail "not reached by its socket"
  [[ $(daemon_pid) == "$old" ]] || fail "another daemon, though its socket is there"
  rm "$KITLINK_SOCKET"
  KITLINK_DAEMON=require "$ld" a -o out || fail "no new daemon"
  gone "$old"
  old=$(daemon_pid)
  rm "$KITLINK_SOCKET"
  KITLINK_DAEMON=require "$ld" a -o out || fail "not reached directly"
  # Another one would have ended it.
  kill -0 "$old" || fail "another daemon, though one can be reached directly"
  kill "$old"
  teardown
}

# Who has connected when the daemon ends is served by the next one.
test_ending_daemon() {
  setup ending_daemon
  local i pids pid
  for i in $(seq 25); do
    pids=()
    for n in 1 2 3 4; do
      KITLINK_DAEMON=require "$ld" a -o "out$n" 2>"err$n" &
      pids+=($!)
    done
    "$kitlinkc" stop >/dev/null 2>&1 || true
    for pid in "${pids[@]}"; do wait "$pid" || fail "round $i: $(cat err*)"; done
  done
  teardown
}

test_killed_daemon_leaves_a_stale_socket() {
  setup killed_daemon_leaves_a_stale_socket
  "$ld" a -o out
  kill -9 "$(daemon_pid)"
  KITLINK_DAEMON=require "$ld" a -o out || fail "no new daemon"
  teardown
}

test_default_places() {
  setup default_places
  unset KITLINK_SOCKET
  export XDG_RUNTIME_DIR=$work/run
  KITLINK_DAEMON=require "$ld" a -o out || fail "under XDG_RUNTIME_DIR"
  [[ -S $work/run/kitlink/kitlinkd.sock ]] || fail "no socket under XDG_RUNTIME_DIR"
  expect_eq "$(stat -c %a "$work/run/kitlink")" 700 "mode of the folder"
  teardown
}

# The rest needs to be several users: root, outside of a user namespace that knows only one.
several_users() { [[ $(id -u) == 0 ]] && "$as_user" 54321 /bin/true; }

test_another_users_folder() {
  several_users || { echo "   (skipped: needs root)"; return 0; }
  setup another_users_folder
  unset KITLINK_SOCKET
  local uid=54321
  chmod 777 .
  rm -rf "/tmp/kitlink-$uid"
  # The folder was made by somebody else, who waits for connections there.
  mkdir -m 700 "/tmp/kitlink-$uid"
  expect_eq "$("$as_user" $uid "$ld" a -o out 2>&1)" "alone: a -o out" "auto"
  KITLINK_DAEMON=require "$as_user" $uid "$ld" a -o out 2>err
  expect_eq $? 3 "require"
  expect_match "$(cat err)" "belongs to another user"
  rmdir "/tmp/kitlink-$uid" || fail "something was put into it"
  # Without it, the user gets one of their own, and the socket in it.
  KITLINK_STATE_DIR=/nonexistent KITLINK_DAEMON=require "$as_user" $uid "$ld" a -o out || fail "XDG unset"
  expect_eq "$(stat -c '%u %a' "/tmp/kitlink-$uid")" "$uid 700" "the folder made"
  "$as_user" $uid "$kitlinkc" stop
  rm -rf "/tmp/kitlink-$uid"
}

test_foreign_user_is_refused() {
  several_users || { echo "   (skipped: needs root)"; return 0; }
  setup foreign_user_is_refused
  "$ld" a -o out
  chmod 755 "$work/run"
  chmod 777 "$KITLINK_SOCKET" .
  # The foreign client does not trust this daemon either, so the connection is made by hand.
  if [[ -x /usr/bin/perl ]]; then
    "$as_user" 54321 /usr/bin/perl -MIO::Socket::UNIX -e \
      'my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit 7; exit(sysread($s, my $b, 9) ? 1 : 0);' "$KITLINK_SOCKET" ||
      fail "the daemon answered a foreign user"
    expect_match "$(cat "$KITLINK_STATE_DIR/kitlinkd.log")" "refused a connection of user 54321"
  fi
  expect_eq "$("$as_user" 54321 "$ld" a -o out 2>&1)" "alone: a -o out" "the client's own check"
  teardown
}

test_kitlinkc() {
  setup kitlinkc
  expect_eq "$("$kitlinkc" status)" "no daemon is running" "status without a daemon"
  "$kitlinkc" relink out 2>/dev/null
  expect_eq $? 1 "relink without a daemon"
  KITLINK_DAEMON=require "$kitlinkc" relink out 2>/dev/null
  expect_eq $? 3 "relink that requires one"
  "$ld" a -o out
  "$kitlinkc" relink elsewhere 2>/dev/null
  expect_eq $? 1 "an output that was never linked"
  echo changed >a
  expect_match "$("$kitlinkc" relink out --changed a --json)" '"outcome":"PATCHED","reason":"none"'
  expect_eq "$(cat out)" changed "relinked"
  "$kitlinkc" relink out --changed a=$(printf '%064d' 1) 2>err
  expect_eq "$? $(cat err)" "1 kitlinkc: error: $work/src/a: has another content" "a wrong content id"
  "$kitlinkc" relink out --changed a=nonsense 2>/dev/null
  expect_eq $? 2 "no content id"
  expect_eq "$("$kitlinkc" explain out --json | grep -c '"generation"')" 2 "links explained"
  expect_match "$("$kitlinkc" verify out --json)" '"equivalent":true'
  echo tampered >out
  "$kitlinkc" verify out >/dev/null
  expect_eq $? 1 "verify of another file"
  "$ld" b -o keyed --session-key=K
  expect_match "$("$kitlinkc" relink key:K)" keyed
  expect_match "$("$kitlinkc" relink keyed)" keyed
  expect_eq "$("$kitlinkc" status --json | wc -l)" 2 "sessions"
  "$kitlinkc" close out || fail close
  expect_eq "$("$kitlinkc" status --json | wc -l)" 1 "sessions"
  "$kitlinkc" >/dev/null 2>&1
  expect_eq $? 2 "no command"
  teardown
}

test_watch() {
  setup watch
  "$ld" a b -o out
  "$kitlinkc" watch out --json >log &
  local watcher=$!
  local i
  for i in $(seq 400); do
    # Until the watch is set up an edit may go unseen; each is another one.
    echo "edit $i" >a.new && mv a.new a
    sleep 0.05
    [[ -s log ]] && break
  done
  expect_match "$(head -1 log)" '"outcome":"PATCHED"'
  kill "$watcher"
  wait "$watcher" 2>/dev/null
  teardown
}

test_many_arguments() {
  setup many_arguments
  local i args=()
  for i in $(seq 20000); do args+=(./././././././././././././a); done
  KITLINK_DAEMON=require timeout 30 "$ld" "${args[@]}" b -o out || fail "failed"
  expect_eq "$(tail -1 out)" world
  expect_eq "$(wc -l <out)" 20001 "inputs"
  teardown
}

for test in $(compgen -A function | grep "^${1:-test_}"); do
  echo "== $test"
  $test
done
cd /
rm -rf "$top"
[[ $failures == 0 ]] || { echo "$failures failures" >&2; exit 1; }
echo PASS
