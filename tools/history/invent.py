"""Makes up edits of real sources, of the kinds that people make: bodies, statics, globals, calls, headers, files.

Nothing is remembered between edits but the tree: what an earlier edit added carries a name that begins with `made_`, and
is found, changed, moved and removed by later ones. An edit need not compile: who uses this builds, and takes it back.
"""
import os
import re

FUNCTION = re.compile(r"^(?!typedef|struct|union|enum|class|namespace|extern|template|#|static_assert|using|else|switch|constexpr|__attribute__)"
                      r"[A-Za-z_][^;={}#]*\([^;{}]*\)[^;={}()]*\{\s*$")


class Inventor:
    # What to do how often: of a hundred commits, some two thirds leave interfaces alone.
    KINDS = {"body": 22, "constant": 6, "lines": 8, "string": 8, "static_function": 8, "static_data": 6, "library_call": 6,
             "global_function": 12, "global_data": 6, "call": 8, "remove": 8, "grow": 6, "header_lines": 3, "header_inline": 4,
             "header_struct": 2, "new_file": 3, "move": 3, "rename_static": 3, "two": 12}
    CXX = {"template_use": 8, "lambda": 6, "throw": 5, "static_object": 3, "inline_variable": 3, "virtual": 3}

    """`folders` are searched for sources, except for paths in which the pattern `leave` is found; `listed`, "FILE:WORD", is
    where new files have to be named, beside WORD."""

    def __init__(self, tree, rng, folders, leave, listed):
        self.tree, self.rng, self.folders, self.leave, self.listed = tree, rng, folders, re.compile(leave), listed

    # --- the tree -----------------------------------------------------------

    def files(self, *endings):
        found = []
        for folder in self.folders:
            for where, _, names in os.walk(os.path.join(self.tree, folder)):
                found += [os.path.join(where, n) for n in names
                          if n.endswith(endings) and not self.leave.search(self.where(os.path.join(where, n)))]
        return sorted(found)

    def sources(self):
        return [f for f in self.files(".c", ".cc", ".cpp") if any(FUNCTION.match(l) for l in self.read(f))]

    @staticmethod
    def read(path):
        with open(path, errors="surrogateescape") as file:
            return file.read().split("\n")

    @staticmethod
    def write(path, lines):
        with open(path, "w", errors="surrogateescape") as file:
            file.write("\n".join(lines))

    def bodies(self, lines):
        """Lines that open a function, at the left margin and not under a condition of the preprocessor."""
        depth, found = 0, []
        for at, line in enumerate(lines):
            if re.match(r"\s*#\s*if", line):
                depth += 1
            elif re.match(r"\s*#\s*endif", line):
                depth -= 1
            elif depth == 0 and FUNCTION.match(line):
                found.append(at)
        return found

    def pick(self):
        """A source file, its lines, and where one of its functions begins; weighed by nothing but chance."""
        sources = self.sources()
        for _ in range(100):
            path = self.rng.choice(sources)
            lines = self.read(path)
            bodies = self.bodies(lines)
            if bodies:
                return path, lines, self.rng.choice(bodies)
        raise ValueError("no functions found")

    def insert(self, path, lines, at, *new):
        """Puts lines behind line `at`."""
        self.write(path, lines[:at + 1] + list(new) + lines[at + 1:])

    def top(self, lines, before):
        """Where declarations can go: in front of the function that begins at `before`, and of what is said about it."""
        at = before
        while at > 0 and lines[at - 1].strip() and not re.match(r"^\}|^#|.*;\s*$", lines[at - 1]):
            at -= 1
        return at

    def cxx(self, path):
        return not path.endswith(".c")

    def declare(self, path, text):
        return ("" if self.cxx(path) else "extern ") + text

    # --- one commit ---------------------------------------------------------

    def edit(self, number):
        kinds = dict(self.KINDS)
        if any(self.cxx(f) for f in self.sources()):
            kinds.update(self.CXX)
        kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        if kind == "two":
            del kinds["two"]
            chosen = self.rng.choices(list(kinds), list(kinds.values()), k=self.rng.choice([2, 2, 3]))
        else:
            chosen = [kind]
        what = [getattr(self, "edit_" + k)("made_%d_%d" % (number, i)) for i, k in enumerate(chosen)]
        return "; ".join(what)

    def where(self, path):
        return os.path.relpath(path, self.tree)

    def edit_body(self, name):
        path, lines, at = self.pick()
        self.insert(path, lines, at, "    static volatile int %s; %s = %s * %d + 1;" % (name, name, name, self.rng.randrange(100)))
        return "body of a function in " + self.where(path)

    def edit_constant(self, name):
        places = [(p, i) for p in self.sources() for i, l in enumerate(self.read(p)) if re.search(r"made_\w+ \* \d+", l)]
        if not places:
            return self.edit_body(name)
        path, at = self.rng.choice(places)
        lines = self.read(path)
        lines[at] = re.sub(r"(made_\w+) \* \d+", lambda m: "%s * %d" % (m[1], self.rng.randrange(100000)), lines[at])
        self.write(path, lines)
        return "constant in " + self.where(path)

    def edit_lines(self, name):
        path, lines, at = self.pick()
        self.insert(path, lines, self.top(lines, at) - 1, *["/* %s */" % name] * self.rng.randrange(1, 6))
        return "comment in " + self.where(path)

    def edit_string(self, name):
        path, lines, at = self.pick()
        self.insert(path, lines, at, '    static const char *volatile %s = "%s says %d"; (void)%s;' % (name, name, self.rng.randrange(10 ** 6), name))
        return "string in " + self.where(path)

    def edit_library_call(self, name):
        path, lines, at = self.pick()
        call = self.rng.choice(["getenv(\"%s\")" % name, "labs(%d)" % self.rng.randrange(99), "getppid()", "time(0)", "strspn(\"%s\", \"made\")" % name,
                                "strpbrk(\"%s\", \"xyz\")" % name, "clock()", "isatty(0)", "atol(\"7\")", "getpgrp()", "rand()"])
        headers = ["#include <%s>" % h for h in ("stdlib.h", "unistd.h", "time.h", "string.h")]
        self.write(path, lines[:at + 1] + ["    static volatile long %s; %s = (long)%s;" % (name, name, call)] + lines[at + 1:])
        lines = self.read(path)
        first = next(i for i, l in enumerate(lines) if l.startswith("#include"))
        self.insert(path, lines, first, *headers)
        return "call of a library in " + self.where(path)

    def edit_static_function(self, name):
        path, lines, at = self.pick()
        body = ["static __attribute__((noinline)) int %s(int x) {" % name, "    return x * %d + 3;" % self.rng.randrange(1000), "}", ""]
        lines.insert(at + 1, "    static volatile int %s_result; %s_result = %s(%d);" % (name, name, name, self.rng.randrange(50)))
        self.insert(path, lines, self.top(lines, at) - 1, *body)
        return "static function in " + self.where(path)

    def edit_static_data(self, name):
        path, lines, at = self.pick()
        length = self.rng.choice([1, 4, 40, 400])
        start = self.rng.choice(["", " = {%d}" % self.rng.randrange(1, 99)])
        lines.insert(at + 1, "    %s[%d] += 1;" % (name, length // 2))
        self.insert(path, lines, self.top(lines, at) - 1, "static volatile int %s[%d]%s;" % (name, length, start))
        return "static data in " + self.where(path)

    def edit_grow(self, name):
        path, lines, at = self.pick()
        new = ["    static volatile unsigned %s; if (%s == 12345) {" % (name, name)]
        new += ["        %s = %s * %du + (%s >> %d);" % (name, name, self.rng.randrange(10 ** 6), name, self.rng.randrange(1, 20)) for _ in range(self.rng.randrange(10, 60))]
        self.insert(path, lines, at, *new, "    }")
        return "much more code in a function of " + self.where(path)

    def edit_global_function(self, name):
        path, lines, at = self.pick()
        self.insert(path, lines, self.top(lines, at) - 1, "int %s(int x);" % name, "int %s(int x) {" % name, "    return x * %d + 1;" % self.rng.randrange(100), "}", "")
        if self.rng.random() < 0.8:
            self.call(name)
        return "global function in " + self.where(path)

    def edit_global_data(self, name):
        path, lines, at = self.pick()
        self.insert(path, lines, self.top(lines, at) - 1, "extern int %s;" % name, "int %s = %d;" % (name, self.rng.randrange(5)))
        user, lines, at = self.pick()
        if self.cxx(user) == self.cxx(path):
            lines.insert(at + 1, "    %s += 2;" % name)
            self.insert(user, lines, self.top(lines, at) - 1, "extern int %s;" % name)
        return "global variable in " + self.where(path)

    def globals(self):
        found = []
        for path in self.sources():
            for at, line in enumerate(self.read(path)):
                match = re.match(r"^int (made_\w+)\(int x\) \{$", line)
                if match:
                    found.append((path, at, match[1]))
        return found

    def call(self, name):
        """Calls a global function from somewhere."""
        path, lines, at = self.pick()
        lines.insert(at + 1, "    static volatile int %s_called; %s_called = %s(%d);" % (name, name, name, self.rng.randrange(9)))
        self.insert(path, lines, self.top(lines, at) - 1, "int %s(int x);" % name)
        return path

    def edit_call(self, name):
        made = self.globals()
        if not made:
            return self.edit_global_function(name)
        return "call from " + self.where(self.call(self.rng.choice(made)[2]))

    def forget(self, name, keep=()):
        """Removes whatever mentions a name."""
        for path in self.files(".c", ".cc", ".cpp", ".h"):
            lines = self.read(path)
            if not any(name in line for line in lines):
                continue
            out, inside = [], False
            for line in lines:
                mentions = re.search(r"\b%s(_called|_result)?\b" % name, line)
                if inside:
                    inside = line != "}"
                    continue
                if mentions and re.match(r"^[a-z].*\) \{$", line):
                    inside = True
                    continue
                if not mentions:
                    out.append(line)
            self.write(path, out)

    def edit_remove(self, name):
        names = set()
        for path in self.sources():
            for line in self.read(path):
                match = re.match(r"^(?:int|static __attribute__\(\(noinline\)\) int) (made_\w+)\(int x\) \{$", line) or \
                    re.match(r"^ +static volatile int (made_\w+); \1 = \1 \* \d+ \+ 1;$", line)
                if match:
                    names.add(match[1])
        if not names:
            return self.edit_body(name)
        gone = self.rng.choice(sorted(names))
        self.forget(gone)
        return "removal of " + gone

    def edit_move(self, name):
        made = self.globals()
        if not made:
            return self.edit_global_function(name)
        path, at, moved = self.rng.choice(made)
        lines = self.read(path)
        text, lines = lines[at:at + 3], lines[:at] + lines[at + 3:]
        self.write(path, lines)
        for _ in range(50):
            other, lines, begin = self.pick()
            if other != path and self.cxx(other) == self.cxx(path):
                self.insert(other, lines, self.top(lines, begin) - 1, "int %s(int x);" % moved, *text, "")
                break
        return "move of %s to %s" % (moved, self.where(other))

    def edit_rename_static(self, name):
        found = [(p, m[1]) for p in self.sources() for l in self.read(p)
                 for m in [re.match(r"^static [\w ]+\*?\b(\w+)\([^)]*\)\s*\{\s*$", l)] if m]
        if not found:
            return self.edit_static_function(name)
        path, old = self.rng.choice(found)
        self.write(path, [re.sub(r"\b%s\b" % old, old + "_" + name, line) for line in self.read(path)])
        return "another name for %s in %s" % (old, self.where(path))

    # --- headers ------------------------------------------------------------

    def header(self):
        used = {}
        for path in self.sources():
            for line in self.read(path):
                match = re.match(r'#\s*include "([\w/.]+)"', line)
                if match:
                    used[os.path.basename(match[1])] = used.get(os.path.basename(match[1]), 0) + 1
        headers = [h for h in self.files(".h", ".hpp") if used.get(os.path.basename(h), 0) >= 2]
        path = self.rng.choice(headers)
        lines = self.read(path)
        guards = [i for i, l in enumerate(lines) if re.match(r"#\s*(define|pragma once)", l)]
        includes, depth = [], 0
        for i, line in enumerate(lines):  # the last include that stands under the guard only
            if re.match(r"\s*#\s*if", line):
                depth += 1
            elif re.match(r"\s*#\s*endif", line):
                depth -= 1
            elif depth <= 1 and line.startswith("#include"):
                includes.append(i)
        return path, lines, (includes or guards or [0])[-1]

    def edit_header_lines(self, name):
        path, lines, at = self.header()
        self.insert(path, lines, at, *["/* %s */" % name] * self.rng.randrange(1, 9))
        return "comment in " + self.where(path)

    def edit_header_inline(self, name):
        path, lines, at = self.header()
        self.insert(path, lines, at, "static inline int %s_inline(int x) { return x + %d; }" % (name, self.rng.randrange(99)))
        return "inline function in " + self.where(path)

    def edit_header_struct(self, name):
        candidates = []
        for path in self.files(".h", ".hpp"):
            lines = self.read(path)
            for at, line in enumerate(lines):
                if re.match(r"^(typedef )?struct \w+ \{\s*$", line):
                    end = next((i for i in range(at, len(lines)) if lines[i].startswith("}")), None)
                    if end is not None and not any("[]" in l or "{" in l for l in lines[at + 1:end]):
                        candidates.append((path, end))
        if not candidates:
            return self.edit_header_lines(name)
        path, end = self.rng.choice(candidates)
        self.insert(path, self.read(path), end - 1, "    long %s;" % name)
        return "member of a structure in " + self.where(path)

    def edit_new_file(self, name):
        if not self.listed:
            return self.edit_global_function(name)
        list_file, word = self.listed.split(":", 1)
        path = os.path.join(self.tree, list_file)
        text = "\n".join(self.read(path))
        if not re.search(r"(?<![\w/])%s(?!\w)" % re.escape(word), text):
            raise ValueError("%s does not mention %s" % (list_file, word))
        fresh = os.path.join(os.path.dirname(word), name + os.path.splitext(word)[1])
        self.write(path, re.sub(r"(?<![\w/])%s(?!\w)" % re.escape(word), "%s %s" % (word, fresh), text, count=1).split("\n"))
        ending = os.path.splitext(self.sources()[0])[1]
        self.write(os.path.join(self.tree, self.folders[0], name + ending),
                   ["int %s(int x);" % name, "static int count_of_%s;" % name, "int %s(int x) {" % name, "    return x + ++count_of_%s;" % name, "}", ""])
        self.call(name)
        return "new file " + name + ending

    # --- C++ ----------------------------------------------------------------

    def pick_cxx(self):
        while True:
            picked = self.pick()
            if self.cxx(picked[0]):
                return picked

    def include(self, path, *headers):
        lines = self.read(path)
        first = next(i for i, l in enumerate(lines) if l.startswith("#include"))
        self.insert(path, lines, first, *["#include <%s>" % h for h in headers])

    def edit_template_use(self, name):
        path, lines, at = self.pick_cxx()
        made = "struct %s_t { int a = %d; bool operator<(const %s_t &o) const { return a < o.a; } };" % (name, self.rng.randrange(99), name)
        use = self.rng.choice(["std::vector<%s_t> %s(3); %s.push_back({});", "std::map<%s_t, int> %s; %s[{}] = 1;", "std::set<%s_t> %s; %s.insert(%s_t{});",
                               "std::map<std::string, %s_t> %s; %s[\"x\"];", "std::shared_ptr<%s_t> %s; %s = std::make_shared<%s_t>();"])
        parts = (name,) * use.count("%s")
        lines.insert(at + 1, "    { " + use % parts + " }")
        self.insert(path, lines, self.top(lines, at) - 1, made)
        self.include(path, "map", "memory", "set", "string", "vector")
        return "templates in " + self.where(path)

    def edit_lambda(self, name):
        path, lines, at = self.pick_cxx()
        self.insert(path, lines, at, "    { std::function<int(int)> %s = [](int x) { return x + %d; }; static volatile int r; r = %s(3); }" % (name, self.rng.randrange(99), name))
        self.include(path, "functional")
        return "lambda in " + self.where(path)

    def edit_throw(self, name):
        path, lines, at = self.pick_cxx()
        self.insert(path, lines, at, "    try { static volatile int %s; if (%s) throw std::string(\"%s\"); } catch (const std::string &) { }" % (name, name, name))
        self.include(path, "string")
        return "exception in " + self.where(path)

    def edit_static_object(self, name):
        path, lines, at = self.pick_cxx()
        lines.insert(at + 1, "    { static volatile size_t r; r = %s.size(); }" % name)
        self.insert(path, lines, self.top(lines, at) - 1, "static const std::string %s = \"%s\";" % (name, name))
        self.include(path, "string")
        return "static object in " + self.where(path)

    def edit_inline_variable(self, name):
        path, lines, at = self.header()
        self.insert(path, lines, at, "template <typename T> struct %s_holder { static T value; };" % name, "template <typename T> T %s_holder<T>::value{};" % name)
        user, lines, at = self.pick_cxx()
        if any('"%s"' % os.path.basename(path) in line for line in lines):
            self.insert(user, lines, at, "    ++%s_holder<int>::value;" % name)
        return "template with a variable in " + self.where(path)

    def edit_virtual(self, name):
        path, lines, at = self.pick_cxx()
        made = ["struct %s_base { virtual ~%s_base() = default; virtual int f(int x) { return x; } };" % (name, name),
                "struct %s_derived : %s_base { int f(int x) override { return x + %d; } };" % (name, name, self.rng.randrange(99))]
        lines.insert(at + 1, "    { static %s_derived d; %s_base *volatile b = &d; static volatile int r; r = b->f(2); }" % (name, name))
        self.insert(path, lines, self.top(lines, at) - 1, *made)
        return "class in " + self.where(path)
