# Functions for the other checks: C++ source without comments and literals.
# Use: awk -f strip.awk -f CHECK.awk FILE...; call strip($0) once for each line,
# in order; the state below is reset at the start of a file.

FNR == 1 {
  strip_in_comment = 0
  strip_raw_end = ""
}

# The line with comments removed, string contents emptied and character
# literals replaced by 0. Lines inside a comment or raw string become "".
function strip(line,    out, at, rest, delimiter) {
  out = ""
  while (line != "") {
    if (strip_in_comment) {
      at = index(line, "*/")
      if (!at) return out
      line = substr(line, at + 2)
      strip_in_comment = 0
    } else if (strip_raw_end != "") {
      at = index(line, strip_raw_end)
      if (!at) return out
      line = substr(line, at + length(strip_raw_end))
      out = out "\"\""
      strip_raw_end = ""
    } else if (match(line, /\/\/|\/\*|R"[^ ()\\]*\(|"|'/)) {
      out = out substr(line, 1, RSTART - 1)
      rest = substr(line, RSTART + RLENGTH)
      at = substr(line, RSTART, 2)
      if (at == "//") return out
      if (at == "/*") {
        strip_in_comment = 1
      } else if (at == "R\"") {
        delimiter = substr(line, RSTART + 2, RLENGTH - 3)
        strip_raw_end = ")" delimiter "\""
      } else if (substr(at, 1, 1) == "\"") {
        if (match(rest, /^([^"\\]|\\.)*"/)) rest = substr(rest, RLENGTH + 1)
        else rest = ""
        out = out "\"\""
      } else if (out ~ /[0-9a-fA-F]$/ && rest ~ /^[0-9a-fA-F]/) {
        # A digit separator.
      } else {
        if (match(rest, /^([^'\\]|\\.)*'/)) rest = substr(rest, RLENGTH + 1)
        out = out "0"
      }
      line = rest
    } else {
      return out line
    }
  }
  return out
}
