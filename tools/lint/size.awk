# Fails for a file over 800 lines or a function over 100 that does not say why.
# Use: awk -f strip.awk -f size.awk FILE...
#
# The reason is a comment "// size: why this is one piece": for a file before
# its first #include, for a function on the lines above it or inside.
#
# Functions are found by their braces: one that opens outside functions and
# follows a parameter list, rather than namespace, class or "=".

BEGIN {
  file_limit = 800
  function_limit = 100
}

function finish_file() {
  if (last_name != "" && last_line > file_limit && !file_reason) {
    printf "%s: %d lines, more than %d, and no \"// size: reason\" before its first #include\n", last_name, last_line, file_limit
    bad = 1
  }
}

FNR == 1 {
  finish_file()
  file_reason = 0
  seen_include = 0
  depth = 0
  function_depth = 0
  function_reason = 0
  head = ""
}

{
  last_name = FILENAME
  last_line = FNR
  if (/\/\/ size: *[^ ]/) {
    if (!seen_include) file_reason = 1
    function_reason = 1
  }
  if (/^[ \t]*#/) {
    if (/^[ \t]*#[ \t]*include/) {
      seen_include = 1
      function_reason = 0
    }
    strip($0)
    continued = /\\$/
    next
  }
  if (continued) {  # the rest of a macro
    continued = /\\$/
    next
  }
  code = strip($0)
  while (match(code, /[{};]/)) {
    token = substr(code, RSTART, 1)
    head = head " " substr(code, 1, RSTART - 1)
    code = substr(code, RSTART + 1)
    if (token == "{") {
      depth++
      if (!function_depth && opens_function(head)) {
        function_depth = depth
        function_start = FNR
        function_name = name_of(head)
      }
    } else if (token == "}") {
      if (depth == function_depth) {
        if (FNR - function_start + 1 > function_limit && !function_reason) {
          printf "%s:%d: %s is %d lines, more than %d, and no \"// size: reason\"\n", FILENAME, function_start, function_name, FNR - function_start + 1, function_limit
          bad = 1
        }
        function_depth = 0
        function_reason = 0
      }
      if (depth > 0) depth--
    } else if (!function_depth) {
      function_reason = 0
    }
    head = ""
  }
  head = head " " code
}

function opens_function(head,    text) {
  text = head
  if (text ~ /(^|[ \t])(namespace|enum)([ \t]|$)/) return 0
  if (text !~ /\(/) return 0
  # "struct S : Base {" has no parameter list; "struct S F() {" has one.
  if (text ~ /=[ \t]*$/ || text ~ /=[^=]*\[[^\]]*\][ \t]*$/) return 0
  return 1
}

function name_of(head,    text) {
  text = head
  sub(/\(.*/, "", text)
  sub(/[ \t]+$/, "", text)
  sub(/.*[ \t*&]/, "", text)
  return text == "" ? "a function" : text
}

END {
  finish_file()
  exit bad
}
