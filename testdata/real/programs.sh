# The real programs that tests here link, for scripts to source: how each is compiled and what it is asked to do.
# $sources is a folder that tools/fetch_sources filled (or a copy), $work a folder for what they write.
# shellcheck shell=bash disable=SC2154

# sources_of PROGRAM: its source files.
sources_of() {
  case $1 in
    lua) ls "$sources"/lua5.4/src/*.c | grep -v /luac.c ;;
    sqlite) ls "$sources"/sqlite3-built/{sqlite3,shell}.c ;;
    zstd) ls "$sources"/libzstd/{lib/{common,compress,decompress,dictBuilder},programs}/*.c "$sources"/libzstd/lib/decompress/*.S ;;
  esac
}

# flags_of PROGRAM: what its sources need to be told, one word each.
flags_of() {
  case $1 in
    lua) echo -DLUA_USE_LINUX ;;
    sqlite) echo -DSQLITE_ENABLE_MATH_FUNCTIONS "-I$sources/sqlite3-built" ;;
    zstd) echo "-I$sources/libzstd/lib" "-I$sources/libzstd/lib/common" ;;
  esac
}

libraries_of() {
  case $1 in
    lua) echo -lm -ldl ;;
    sqlite) echo -lm -ldl -lpthread ;;
    zstd) echo -lpthread ;;
  esac
}

# run_PROGRAM IMAGE: works it, and prints what came out.
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
print("len " .. ("abc"):len(), "upper " .. ("abc"):upper(), "rawlen " .. rawlen({1, 2, 3}), "abs " .. math.abs(-4))
print(pcall(function() return nil + 1 end))
local words = {} for k, v in pairs(math) do if type(v) == "function" then words[#words + 1] = k end end
table.sort(words) print(table.concat(words, " "))
local s = string.pack("<i4z", 77, "packed") print(string.unpack("<i4z", s))
for k, v in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do io.write(k, ":", v, " ") end print(string.format("%q", 1 / 3))
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
select 'length', length('abc'), 'abs', abs(-5), typeof(1.5), nullif(1, 2);
select * from nowhere;
.mode quote
select 'quoted', 1.5, null;
SQL
  # One statement fails, as it should.
  [ $? -eq 1 ]
}

run_zstd() {
  seq 1 60000 >"$work/data"
  local level
  "$1" -V
  for level in 1 5 12; do
    "$1" -q -f -"$level" "$work/data" -o "$work/data.zst" && "$1" -q -f -d "$work/data.zst" -o "$work/back" &&
      cmp "$work/data" "$work/back" && stat -c %s "$work/data.zst"
  done
  "$1" -b3 -i0 "$work/data" >/dev/null 2>&1 && echo benchmarked
}
