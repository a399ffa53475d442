#!/usr/bin/env bash
# Plants each kind of violation in a small tree and expects the checks to report
# it, by file and line, and to be content with what is allowed.
set -euo pipefail
lint=$(dirname "$(readlink -f "$1")")/tools/lint/lint
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

# plant FILE < text: one file in an otherwise empty tree.
plant() {
  rm -rf "${tree:?}"/*
  mkdir -p "$tree/$(dirname "$1")"
  cat >"$tree/$1"
}

# accepts CHECK WHAT / rejects CHECK WHAT MESSAGE: on the tree as planted.
accepts() {
  if ! output=$("$lint" "$1" "$tree" 2>&1); then
    printf 'FAILED: %s should accept %s:\n%s\n' "$1" "$2" "$output"
    failures=$((failures + 1))
  fi
}
rejects() {
  if output=$("$lint" "$1" "$tree" 2>&1); then
    printf 'FAILED: %s should reject %s\n' "$1" "$2"
    failures=$((failures + 1))
  elif [[ $output != *"$3"* ]]; then
    printf 'FAILED: %s on %s should say "%s", said:\n%s\n' "$1" "$2" "$3" "$output"
    failures=$((failures + 1))
  fi
}

# lines COUNT [TEXT]: that many lines of filling.
lines() { awk -v count="$1" -v text="${2-  Step();}" 'BEGIN { while (count-- > 0) print text }'; }

# Layering: FILE, INCLUDE and what is said about it ("" where it is allowed).
while IFS='|' read -r file include message; do
  [[ -n $file ]] || continue
  printf '// A file.\n#include %s\n' "$include" | plant "$file"
  if [[ -z $message ]]; then
    accepts layering "$include in $file"
  else
    rejects layering "$include in $file" "$file:2: $message"
  fi
done <<'TABLE'
core/input/a.cc|"core/base/ids.h"|
core/base/a.cc|"core/input/model.h"|core/base may not include core/input/model.h
core/input/a.cc|"core/symbols/table.h"|core/input may not include
core/arch/a.cc|"core/symbols/table.h"|core/arch may not include
core/layout/a.cc|"core/output/image_sink.h"|core/layout may not include
core/output/a.cc|"core/session/link_session.h"|core/output may not include
core/session/a.cc|"core/output/image_sink.h"|
core/session/a.cc|"core/output/elf/writer.h"|core/session may not include
core/session/a.cc|"core/input/elf_object.h"|core/session may not include
core/session/a.cc|"core/input/model.h"|
core/session/a.cc|<elf.h>|core/session may not include <elf.h>
core/symbols/a.h|<elf.h>|core/symbols may not include <elf.h>
core/layout/a.h|<elf.h>|core/layout may not include <elf.h>
core/output/elf/a.h|<elf.h>|
core/session/a_test.cc|"core/verify/verify.h"|
core/session/a_test.cc|"daemon/service.h"|core/session may not include
core/verify/a.cc|"core/session/link_session.h"|core/verify may not include
core/verify/a.cc|"core/session/cold_link.h"|
core/verify/a.cc|"core/layout/place.h"|core/verify may not include
core/base/a.cc|"daemon/service.h"|core/base may not include
core/base/a.cc|"kitlink/v1/link.pb.h"|core/base may not include
core/symbols/a.cc|<tbb/parallel_for.h>|core/symbols may not include <tbb/parallel_for.h>
core/base/parallel.cc|<tbb/parallel_for.h>|
core/session/a.cc|<grpcpp/grpcpp.h>|core/session may not include
daemon/a.cc|<grpcpp/grpcpp.h>|
daemon/a.cc|"core/session/link_session.h"|
daemon/a.cc|"client/kitlinkc.h"|daemon may not include
client/a.cc|"daemon/service.h"|client may not include
client/a.cc|"core/session/link_session.h"|client may not include
client/a.cc|"kitlink/v1/link.pb.h"|
client/a.cc|"local.h"|"local.h": include paths start at the workspace
TABLE
plant core/novelty/a.cc <<<'int x;'
rejects layering 'an undeclared folder' 'core/novelty/a.cc:1: is in no folder'

# Size.
function_of() { printf 'namespace n {\n%s\nvoid Work(int a,\n          int b) {\n' "${2-}"; lines $(($1 - 2)); printf '}\n}\n'; }
function_of 100 | plant core/base/a.cc
accepts size 'a function of 100 lines'
function_of 101 | plant core/base/a.cc
rejects size 'a function of 101 lines' 'a.cc:4: Work is 101 lines'
function_of 101 '// size: a table that reads best in one piece' | plant core/base/a.cc
accepts size 'a long function with a reason'
function_of 101 '// size:' | plant core/base/a.cc
rejects size 'an empty reason' 'Work is 101 lines'
{ function_of 101 '// size: this one only'; function_of 150; } | plant core/base/a.cc
rejects size 'a reason that belongs to another function' 'Work is 150 lines'
{ printf 'class C {\n public:\n  int Get() const override {\n'; lines 120; printf '  }\n};\n'; } | plant core/base/a.h
rejects size 'a long member function' 'Get is 122 lines'
{ printf 'const char* text = R"x(\n} } {\n)x";\nauto c = 1'\''000 + '\''{'\''; // {\n/* {\n { */\n#define M(x) { \\\n  { x\n'; function_of 101; } | plant core/base/a.cc
rejects size 'a long function after braces in literals' 'Work is 101 lines'
{ printf 'namespace {\nconst Row kTable[] = {\n'; lines 300 '    {1, "}"},'; printf '};\n}\n'; } | plant core/base/a.cc
accepts size 'a long table'
{ printf 'class C {\n'; lines 300 '  void F(int x) { G(x); }'; printf '};\n'; } | plant core/base/a.h
accepts size 'a long class of short functions'
{ echo '#include <x>'; lines 800 'int F();'; } | plant core/base/a.cc
rejects size 'a file of 801 lines' 'a.cc: 801 lines'
{ printf '// size: every case of one table\n#include <x>\n'; lines 800 'int F();'; } | plant core/base/a.cc
accepts size 'a long file with a reason'

# Quiet.
while IFS='|' read -r code message; do
  [[ -n $code ]] || continue
  printf 'void F() {\n  %s\n}\n' "$code" | plant core/base/a.cc
  if [[ -z $message ]]; then accepts quiet "$code"; else rejects quiet "$code" "a.cc:2: the core $message"; fi
done <<'TABLE'
exit(1);|ends the process
std::abort();|ends the process
::_exit(2);|ends the process
std::terminate();|ends the process
std::cerr << 1;|prints
printf("%d", 1);|prints
std::fprintf(stderr, "x");|prints
perror("x");|prints
LOG(FATAL) << 1;|logs or aborts
CHECK_EQ(1, 2);|logs or aborts
snprintf(b, 1, "exit(1)");|
// abort() would be wrong here|
F(absl::StrFormat("printf(%d)", x));|
on_exit(1); scope.exit(); p->abort();|
TABLE
printf 'int main() { exit(1); }\n' | plant core/base/a_test.cc
printf 'int x;\n' >"$tree/core/base/a.cc"
accepts quiet 'a test that exits'

# Order. What is declared, and a line of a function after it.
while IFS='|' read -r declared used wrong; do
  [[ -n $declared ]] || continue
  printf 'void F(%s) {\n  absl::flat_hash_map<int, std::string> table;\n  std::vector<int> list;\n  if (list.empty()) {\n  }\n%s\n}\n' "$declared" "${used//;;/$'\n'}" | plant core/base/a.cc
  printf 'struct S {\n  absl::flat_hash_set<int> field;\n  std::vector<absl::flat_hash_set<int>> fields;\n  std::vector<int> other;\n  absl::btree_set<int> sorted;\n};\n' >"$tree/core/base/s.h"
  if [[ -z $wrong ]]; then accepts order "$used"; else rejects order "$used" "core/base/a.cc:$wrong: the order of a hash table"; fi
done <<'TABLE'
S* s|  for (const auto& [key, value] : table) Use(key);|6
S* s|  for (int i : list) Use(i);|
S* s|  for (int i : s->field) Use(i);|6
S* s|  for (int i : s->fields[i + 1]) Use(i);|6
S* s|  for (const auto& one : s->fields) Use(one);|
S* s|  for (int i : s->other) Use(i);|
S* s|  for (int i : s->sorted) Use(i);|
S* s|  std::vector<int> all(s->field.begin(), s->field.end());|6
S* s|  std::vector<int> all(list.begin(), list.end());|
S* s|  for (int i : s->field) Use(i);  // any order: a sum|
S* s|  // any order: a sum;;  for (int i : s->field) Use(i);|
S* s|  // any order:;;  for (int i : s->field) Use(i);|7
S* s|  for (int i = 0; i < 3; ++i) Use(table[i]);|
const absl::flat_hash_set<int>& given|  for (int i : given) Use(i);|6
const absl::flat_hash_set<int>& given|};;void G(const std::vector<int>& given) {;;  for (int i : given) Use(i);|
TABLE

rm -rf "${tree:?}"/*
rejects size 'an empty tree' 'no sources'

[[ $failures -eq 0 ]] || exit 1
echo 'all planted violations were found'
