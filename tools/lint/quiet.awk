# Fails where the core ends the process or prints: it is a library, and both are
# its caller's to decide. Use: awk -f strip.awk -f quiet.awk FILE...

{
  code = strip($0)
  if (code ~ /(^|[^A-Za-z0-9_.>])(exit|_exit|_Exit|quick_exit|abort|terminate|raise|__builtin_trap)[ \t]*\(/)
    complain("ends the process")
  if (code ~ /(^|[^A-Za-z0-9_.>])(printf|fprintf|vprintf|vfprintf|dprintf|puts|fputs|putchar|putc|fputc|fwrite|perror|syslog)[ \t]*\(/ ||
      code ~ /std::(cout|cerr|clog|wcout|wcerr|println?)([^A-Za-z0-9_]|$)/)
    complain("prints")
  if (code ~ /(^|[^A-Za-z0-9_])(ABSL_|ABSL_RAW_)?(LOG|CHECK|DCHECK|CHECK_(EQ|NE|LT|LE|GT|GE|OK))[ \t]*\(/)
    complain("logs or aborts; return a Status")
}

function complain(what) {
  printf "%s:%d: the core %s:%s\n", FILENAME, FNR, what, $0
  bad = 1
}

END { exit bad }
