# Checks every #include against layers.txt: awk -f layering.awk layers.txt FILE...
# Files are named relative to the workspace. Prints "file:line: what is wrong".

# The folder of layers.txt that `path` belongs to, or "": the longest prefix.
function row_of(path,    folder) {
  folder = path
  while (sub(/\/[^\/]*$/, "", folder)) if (folder in entries) return folder
  return ""
}

function is_test(path) {
  return path ~ /_(test|testing|test_util|fuzz|fuzzer|bench|benchmark)\.(cc|h)$/ || path ~ /\/testing\//
}

# Whether one of the entries of `row` names `target` (a workspace path).
function allows(row, target, binding,    list, count, i, found) {
  count = split(entries[row], list, " ")
  found = 0
  for (i = 1; i <= count; i++) {
    if (substr(list[i], 1, 1) == "!") {
      if (binding && index(target, substr(list[i], 2)) == 1) return 0
    } else if (list[i] == target || list[i] == row_of(target)) {
      found = 1
    }
  }
  return found
}

function complain(text) {
  printf "%s:%d: %s\n", FILENAME, FNR, text
  bad = 1
}

FILENAME == ARGV[1] {
  sub(/#.*/, "")
  if ($0 !~ /:/) next
  name = $0
  sub(/: .*|:$/, "", name)
  rest = substr($0, length(name) + 2)
  if (name ~ /^header </) headers[substr(name, 9)] = " " rest " "
  else entries[name] = rest
  next
}

FNR == 1 {
  mine = row_of(FILENAME)
  test = is_test(FILENAME)
  if (mine == "") complain("is in no folder of tools/lint/layers.txt")
}

mine != "" && /^[ \t]*#[ \t]*include[ \t]*[<"]/ {
  target = $0
  sub(/^[^<"]*[<"]/, "", target)
  sub(/[>"].*/, "", target)
  if (target ~ /^kitlink\/v[0-9]+\//) target = "proto/" target

  theirs = row_of(target)
  if (target !~ /\// && $0 ~ /"/) {
    complain("\"" target "\": include paths start at the workspace")
  } else if (theirs != "") {
    if (theirs != mine && !allows(mine, target, !test) && !(test && allows("tests", target, 0)))
      complain(mine " may not include " target)
  } else if (!test) {
    for (header in headers) {
      bare = header
      gsub(/[<>]/, "", bare)
      if ((target == bare || (bare ~ /\/$/ && index(target, bare) == 1)) && index(headers[header], " " mine " ") == 0)
        complain(mine " may not include <" target ">")
    }
  }
}

END { exit bad }
