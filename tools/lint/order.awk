# Fails where the elements of a hash table are gone through without saying why
# their order, which is another in each process, cannot be seen: neither in an
# image nor in what is printed. The reason is a comment "// any order: why" on
# the line or the one above; where there is none to give, sort first or take a
# btree. Use: awk -f strip.awk -f order.awk pass=1 FILE... pass=2 FILE...
#
# Types are not known here, so that tables are told by name: NAME_ is what the file
# or its header declares, plain names are those of the same function or of the
# file's own header, and x.NAME is a field that some header declares and nothing
# else by that name. What a function is handed under another name goes unseen.

BEGIN { table = "(flat_hash_map|flat_hash_set|node_hash_map|node_hash_set|unordered_map|unordered_set)<" }

function stem(file) {
  sub(/\.(cc|h)$/, "", file)
  return file
}

# What follows the template arguments at the start of `text`; "" when they end on another line.
function after_arguments(text,    i, depth, c) {
  for (i = 1; i <= length(text); i++) {
    c = substr(text, i, 1)
    if (c == "<") depth++
    if (c == ">" && --depth == 0) return substr(text, i + 1)
  }
  return ""
}

# Notes the names that are declared after a table's type; with `element` the tables are what NAME[I] means.
function note(rest, parameter,    element, name) {
  element = sub(/^ *>+/, "", rest)
  while (match(rest, /^[ &*]*[A-Za-z_][A-Za-z0-9_]*/)) {
    name = substr(rest, 1, RLENGTH)
    rest = substr(rest, RLENGTH + 1)
    gsub(/[ &*]/, "", name)
    if (pass == 2) locals[name element] = 1
    else if (FILENAME ~ /\.h$/ && !parameter) own[stem(FILENAME), name element] = fields[name element] = 1
    else if (name ~ /_$/ || rest ~ /^\(/) own[stem(FILENAME), name element] = 1
    if (rest !~ /^, *[a-z][A-Za-z0-9_]*( *[;,]|$)/) return
    sub(/^, */, "", rest)
  }
}

function declarations(code,    before, rest, found, words, name) {
  if (match(code, /using [A-Za-z0-9_]+ = .*/) && code ~ table) {
    split(substr(code, RSTART), words, " ")
    aliases[words[2]] = 1
    return
  }
  for (rest = code; match(rest, table);) {
    before = before substr(rest, 1, RSTART - 1)
    rest = after_arguments(substr(rest, RSTART + RLENGTH - 1))
    note(rest, before ~ /\(/)
    found = 1
  }
  if (found) return
  for (name in aliases) {
    if (match(code, "(^|[^A-Za-z0-9_])" name "[ &*]")) {
      note(substr(code, RSTART + RLENGTH - 1), substr(code, 1, RSTART) ~ /\(/)
      return
    }
  }
  # Something else by that name.
  if (FILENAME ~ /\.h$/ && code !~ /[()]/ && match(code, /[ >&*][a-z][A-Za-z0-9_]*( = [^;]*|{.*})?( ABSL_[^;]*)?;/)) {
    rest = substr(code, RSTART + 1)
    sub(/[^A-Za-z0-9_].*/, "", rest)
    other[rest] = 1
  }
}

# True when `text` names a hash table.
function is_table(text,    element, call, field) {
  sub(/^.*as_const\(/, "", text)
  sub(/[ )]+$/, "", text)
  if (text !~ /^[*&]?[A-Za-z_]/) return 0
  element = sub(/\[[^][]*\]$/, "", text)
  call = sub(/\([^()]*$/, "", text)
  field = text ~ /(\.|->)[A-Za-z0-9_]*$/
  gsub(/.*[^A-Za-z0-9_]/, "", text)
  if (field && call) return 0
  if (!field && ((text element) in locals)) return 1
  if (!field) return (stem(FILENAME), text element) in own
  return ((text element) in fields) && !(text in other)
}

{ code = strip($0) }
FNR == 1 { above = "" }
pass == 1 { declarations(code) }
# A function ends, or one in a class begins.
pass == 2 && (FNR == 1 || code ~ /^}/ || (code ~ /^  [A-Za-z_][^=]*\(.*[{,]$/ && code !~ /^  (if|for|while|switch) /)) { split("", locals) }
pass == 2 {
  declarations(code)
  reason = ($0 above) ~ /\/\/ any order: *[^ ]/
  above = $0 ~ /^ *\/\// ? $0 : ""
  hit = 0
  if (match(code, /for \([^;]*[^:]:[^:][^;]*\)/)) {
    range = code
    sub(/^.*for \(/, "", range)
    sub(/^[^:]*(::[^:]*)*[^:]:[^:]/, "", range)
    sub(/\) *({.*|[A-Za-z+-].*)?$/, "", range)
    if (is_table(range)) hit = 1
  }
  for (rest = code; match(rest, /[A-Za-z_][A-Za-z0-9_.>-]*(\.|->)begin\(\)/);) {
    name = substr(rest, RSTART, RLENGTH)
    rest = substr(rest, RSTART + RLENGTH)
    sub(/(\.|->)begin\(\)/, "", name)
    if (is_table(name)) hit = 1
  }
  if (hit && !reason) {
    printf "%s:%d: the order of a hash table's elements is any: say why that is all right (// any order: ...), or sort:%s\n", FILENAME, FNR, $0
    bad = 1
  }
}

END { exit bad }
