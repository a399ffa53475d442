#!/bin/bash
# Links real programs with a linker, from objects of gcc and of clang through both drivers, runs each, and compares what it
# prints with what the system's linker makes of the same objects:
#   run_real.sh LINKER SOURCES      (SOURCES: a folder filled by tools/fetch_sources)
# Prints a line for each program; fails when one of them is wrong.
set -u
linker=$(readlink -f "$1") sources=$(readlink -f "$2")
work=$(mktemp -d "${TMPDIR:-/tmp}/kitlink-real-XXXXXX") || exit 2
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
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

run_lua() {
  cat >"$work/script.lua" <<'LUA'
local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
print(fib(20), ("x"):rep(3), #arg, math.type(1 // 1), string.format("%5.2f", math.pi))
local ok, message = pcall(function() error({code = 7}) end)
print(ok, message.code, select("#", table.unpack({1, 2, 3})))
local co = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i * i) end end)
print(co(), co(), co(), os.getenv("NOWHERE"), utf8.char(0x20ac))
local t = setmetatable({}, {__index = function(_, k) return k .. "!" end})
print(t.hello, next({}), string.gsub("hello world", "o", "0"))
collectgarbage() print(load("return 1 + 1")(), #table.concat({1, 2, 3}, ","))
LUA
  "$1" "$work/script.lua"
}

run_sqlite() {
  "$1" :memory: <<'SQL'
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000) insert into t select i, 'row ' || i, i / 7.0 from n;
create index by_b on t(b);
select count(*), sum(a), round(avg(c), 4), max(b) from t;
select b, c from t where b like 'row 99%' order by c desc limit 3;
select json_extract('{"a":[1,2,{"b":3}]}', '$.a[2].b'), strftime('%Y', '2020-02-03'), printf('%08.3f', 2.5);
update t set b = upper(b) where a % 3 = 0; delete from t where a > 990; select total_changes(), count(*) from t;
explain query plan select * from t where b = 'ROW 3';
SQL
}

run_zstd() {
  seq 1 60000 >"$work/data"
  local level
  for level in 1 5 12; do
    "$1" -q -f -"$level" "$work/data" -o "$work/data.zst" && "$1" -q -f -d "$work/data.zst" -o "$work/back" &&
      cmp "$work/data" "$work/back" && stat -c %s "$work/data.zst"
  done
  "$1" -b3 -i0 "$work/data" >/dev/null 2>&1 && echo benchmarked
}

for compiler in gcc clang; do
  lua=$sources/lua5.4/src
  objects lua "$compiler" "-O1 -DLUA_USE_LINUX" $(ls "$lua"/*.c | grep -v /luac.c)
  # The amalgamation takes long; without optimisation it is quick enough.
  objects sqlite "$compiler" "-O0 -g -DSQLITE_ENABLE_MATH_FUNCTIONS -I$sources/sqlite3-built" "$sources/sqlite3-built/sqlite3.c" \
    "$sources/sqlite3-built/shell.c"
  zstd=$sources/libzstd
  objects zstd "$compiler" "-O1 -g -ffunction-sections -fdata-sections -DZSTD_DISABLE_ASM=0 -I$zstd/lib -I$zstd/lib/common" \
    "$zstd"/lib/{common,compress,decompress,dictBuilder}/*.c "$zstd"/lib/decompress/*.S "$zstd"/programs/*.c
done
program lua "-lm -ldl" run_lua
program sqlite "-lm -ldl -lpthread" run_sqlite
program zstd "-lpthread -Wl,--gc-sections" run_zstd
echo "$failures failures"
[ $failures -eq 0 ]
