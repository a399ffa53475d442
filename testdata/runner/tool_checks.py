#!/usr/bin/env python3
"""What the tools of the trade make of an image that relinks have patched, beside what they make of a fresh link.

tool_checks.py IMAGE FRESH [PREVIOUS UNCHANGED...]: prints each disagreement and exits with 1 when there is one. The noise
of the fresh link is the baseline. With PREVIOUS, the image before the last relink, the debug information of each UNCHANGED
source file must have the same bytes at the same places.
"""
import bisect
import os
import re
import struct
import subprocess
import sys

SHT_SYMTAB = 2
# What dumps say of fillers of large holes (an opcode of the user range), and of lists that are not packed and in the order
# of the units that refer to them: a unit's part may have moved.
FILLER = re.compile(r"extended opcode \d+:  unknown opcode|There is an? (hole|overlap) \[")
ADDRESS = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{6,}\b")


def tool(*command, text=None):
    done = subprocess.run(command, input=text, stdin=None if text else subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, encoding="utf-8", errors="replace", timeout=120, check=False)
    return done.stdout, done.stderr


class Image:
    """An ELF image: its sections and symbols, read by nobody else's code."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.bytes = file.read()
        offset, = struct.unpack_from("<Q", self.bytes, 0x28)
        count, names = struct.unpack_from("<HH", self.bytes, 0x3c)
        rows = [struct.unpack_from("<IIQQQQIIQQ", self.bytes, offset + 64 * i) for i in range(count)]
        strings = self.bytes[rows[names][4]:]
        self.sections, self.symbols = {}, []
        for row in rows:
            self.sections.setdefault(strings[row[0]:strings.index(b"\0", row[0])].decode(), row)
            if row[1] == SHT_SYMTAB:
                self.read_symbols(row, rows[row[6]])

    def read_symbols(self, row, strings):
        names = self.bytes[strings[4]:strings[4] + strings[5]]
        for at in range(row[4], row[4] + row[5], 24):
            name, info, _, section, value, size = struct.unpack_from("<IBBHQQ", self.bytes, at)
            text = names[name:names.index(b"\0", name)].decode(errors="replace")
            self.symbols.append((text, info & 15, info >> 4, section, value, size))

    def content(self, name):
        row = self.sections.get(name)
        return self.bytes[row[4]:row[4] + row[5]] if row and row[1] != 8 else b""

    def functions(self):
        """name -> (address, size) of the functions whose name is one symbol's alone."""
        found, twice = {}, set()
        for name, kind, _, section, value, size in self.symbols:
            if kind == 2 and section != 0 and size != 0:
                if name in found:
                    twice.add(name)
                found[name] = (value, size)
        return {n: place for n, place in found.items() if n not in twice}


class Checks:
    def __init__(self, image, fresh):
        self.image, self.fresh, self.failed = Image(image), Image(fresh), False

    def complain(self, what):
        self.failed = True
        print(what)

    def run(self):
        for check in (self.messages, self.verify, self.names, self.samples, self.disassembly, self.lines, self.debugger):
            check()

    def both(self, *command):
        """Output and messages of a tool for either image; IMAGE stands for the path."""
        return [tool(*[image.path if word == "IMAGE" else word for word in command]) for image in (self.image, self.fresh)]

    def no_more(self, name, ours, theirs):
        """Each line must be one that the fresh link gets, too."""
        known = {self.normal(line) for line in theirs}
        ours = [line for line in ours if not FILLER.search(line)]
        for line in list(dict.fromkeys(self.normal(line) for line in ours if self.normal(line) not in known))[:5]:
            self.complain("%s: %s" % (name, line[:300]))

    def normal(self, line):
        for path in (self.image.path, self.fresh.path):  # gdb names images by where they are
            line = line.replace(os.path.realpath(path), "IMAGE").replace(path, "IMAGE")
        return re.sub(r"\b\d+\b", "N", ADDRESS.sub("ADDRESS", line)).strip()

    def messages(self):
        for command in (["readelf", "-aW"], ["readelf", "-w"], ["eu-readelf", "-a"], ["eu-readelf", "-w", "-N"], ["objdump", "-dr"], ["objdump", "-WiaRolLf"], ["nm"],
                        self.llvm_dump()):
            name = " ".join(command)
            (out, errors), (fresh_out, fresh_errors) = self.both(*command, "IMAGE")
            self.no_more(name, errors.splitlines(), fresh_errors.splitlines())
            warns = re.compile(r"warning|error:|corrupt|invalid", re.I)
            loud, fresh_loud = ([line for line in text.splitlines() if warns.search(line)] for text in (out, fresh_out))
            self.no_more(name, loud, fresh_loud)

    def llvm_dump(self):
        """gcc puts views between location lists; LLVM takes them for entries, and addresses decide what it says of that."""
        if "DW_AT_GNU_locviews" not in tool("readelf", "-wi", self.fresh.path)[0]:
            return ["llvm-dwarfdump", "--all"]
        tables = "abbrev addr aranges cu-index info line line-str macro names pubnames pubtypes ranges rnglists str str-offsets types"
        return ["llvm-dwarfdump", "--debug-frame"] + ["--debug-" + table for table in tables.split()]

    def verify(self):
        fresh_out = tool("timeout", "20", "llvm-dwarfdump", "--verify", self.fresh.path)[0]
        # It takes minutes for optimised C++ in DWARF 5, whoever has linked it.
        if "errors." in fresh_out.lower():
            out, _ = tool("llvm-dwarfdump", "--verify", self.image.path)
            self.no_more("llvm-dwarfdump --verify", out.splitlines(), fresh_out.splitlines())
            if ("No errors." in out) < ("No errors." in fresh_out):
                self.complain("llvm-dwarfdump --verify: errors where a fresh link has none")
        (out, errors), (fresh_out, fresh_errors) = self.both("eu-elflint", "--gnu-ld", "IMAGE")
        self.no_more("eu-elflint", (out + errors).splitlines(), (fresh_out + fresh_errors).splitlines())

    def names(self):
        """nm lists the same names, each as the same kind; locals of one name as often."""
        listed = []
        for image in (self.image, self.fresh):
            out, _ = tool("nm", image.path)
            listed.append(sorted(tuple(line.split()[-2:]) for line in out.splitlines() if line.strip()))
        ours, theirs = listed
        if ours != theirs:
            extra = [e for e in ours if ours.count(e) > theirs.count(e)][:5]
            missing = [e for e in theirs if theirs.count(e) > ours.count(e)][:5]
            self.complain("nm: only here: %s; only in a fresh link: %s" % (extra, missing))

    def samples(self):
        """Each address of a function leads to its name, as profilers look it up: the last symbol that begins before."""
        table = sorted((value, value + size, name) for name, kind, _, section, value, size in self.image.symbols
                       if kind == 2 and section != 0 and size != 0)
        begins = [row[0] for row in table]
        for i in range(1, len(table)):
            if table[i][0] < table[i - 1][1] and table[i][:2] != table[i - 1][:2]:
                overlap = (table[i - 1][2], table[i][2])
                if not self.overlap_in_fresh(*overlap):
                    self.complain("symbols overlap: %s, %s" % overlap)
        for name, (address, size) in self.image.functions().items():
            for at in (address, address + size // 2, address + size - 1):
                row = table[bisect.bisect_right(begins, at) - 1]
                if not row[0] <= at < row[1]:
                    self.complain("%s+%d is in no function" % (name, at - address))

    def overlap_in_fresh(self, a, b):
        known = self.fresh.functions()
        if a not in known or b not in known:
            return True  # of a name that is there twice
        (begin, size), (other, other_size) = known[a], known[b]
        return begin < other + other_size and other < begin + size

    def disassembly(self):
        """The same instructions in each function."""
        listed = []
        for image in (self.image, self.fresh):
            out, _ = tool("objdump", "-d", "--no-show-raw-insn", image.path)
            listed.append(self.bodies(out, image))
        for name, body in listed[1].items():
            if listed[0].get(name) != body:
                self.complain("objdump -d: %s: %s instead of %s" % (name, first_difference(listed[0].get(name, []), body), body[:1]))

    @staticmethod
    def bodies(text, image):
        known, bodies, body, end = image.functions(), {}, None, 0
        for line in text.splitlines():
            head = re.match(r"^([0-9a-f]+) <(.*)>:$", line)
            if head:
                name = head.group(2)
                body = bodies.setdefault(name, []) if name in known and known[name][0] == int(head.group(1), 16) else None
                end = sum(known.get(name, (0, 0)))
                continue
            row = re.match(r"^\s*([0-9a-f]+):\t([^#<]*)", line)
            if row and body is not None and int(row.group(1), 16) < end:
                # Addresses are other ones, and so are names beside them: where a function was before is no symbol.
                body.append(re.sub(r"-?0x[0-9a-f]+(?=\(%rip\))|\b(0x)?[0-9a-f]{4,}\b", "ADDRESS", row.group(2)).strip())
        return bodies

    def lines(self):
        """addr2line of three makers: each place of each function is the same function, file and line, with inlining."""
        ours, theirs = self.image.functions(), self.fresh.functions()
        places = [(name, at) for name in sorted(ours) if name in theirs and ours[name][1] == theirs[name][1]
                  for at in {0, 1, ours[name][1] // 3, ours[name][1] // 2, ours[name][1] - 1}]
        for command in (["addr2line", "-afi", "-e"], ["llvm-addr2line", "-afi", "-e"], ["eu-addr2line", "-afi", "-e"]):
            found = []
            for image, known in ((self.image, ours), (self.fresh, theirs)):
                asked = "".join("0x%x\n" % (known[name][0] + at) for name, at in places)
                out, _ = tool(*command, image.path, text=asked)
                found.append(re.split(r"^0x[0-9a-f]+:?\n", out, flags=re.M)[1:])
            if len(found[0]) != len(places) or len(found[1]) != len(places):
                self.complain("%s: %d answers, %d from a fresh link, to %d questions" % (command[0], len(found[0]), len(found[1]), len(places)))
                continue
            wrong = [(p, a, b) for p, a, b in zip(places, *found)
                     if self.normal_place(a, p[0], ours) != self.normal_place(b, p[0], theirs)]
            for (name, at), answer, wanted in wrong[:5]:
                self.complain("%s: %s+%d: %s instead of %s" % (command[0], name, at, answer.split("\n"), wanted.split("\n")))

    @staticmethod
    def normal_place(text, name, functions):
        """Of the names of one function, such as constructors', any is right: rows of .symtab have no order."""
        names = {n for n in functions if functions[n] == functions[name]}
        lines = re.sub(r" \(discriminator \d+\)", "", text).split("\n")
        return [sorted(names) if line in names else line for line in lines]

    def debugger(self):
        """gdb knows each function by its name, the types of its variables, and its lines."""
        names = [n for n in sorted(self.fresh.functions()) if re.match(r"^[A-Za-z_]\w*$", n)][:200]
        commands = []
        for name in names:
            commands += ["-ex", "echo @@%s\\n" % name, "-ex", "break %s" % name, "-ex", "info line %s" % name,
                         "-ex", "info scope %s" % name, "-ex", "info symbol %s" % name, "-ex", "whatis %s" % name]
        commands += ["-ex", "echo @@everything\\n", "-ex", "info types .", "-ex", "info functions -n .", "-ex", "info variables -n .",
                     "-ex", "maintenance check symtabs"]
        (out, errors), (fresh_out, fresh_errors) = self.both("gdb", "-nx", "-batch", *commands, "IMAGE")
        self.no_more("gdb", errors.splitlines(), fresh_errors.splitlines())
        ours, theirs = (dict(part.split("\n", 1) for part in text.split("@@")[1:] if "\n" in part) for text in (out, fresh_out))
        for name, wanted in theirs.items():
            # Of several functions of one name, such as a weak one that another overrides, gdb takes any.
            if re.search(r"\(\d+ locations\)", wanted):
                continue
            found, wanted = (sorted(ADDRESS.sub("ADDRESS", line) for line in text.splitlines()) for text in (ours.get(name, ""), wanted))
            if found != wanted:
                extra = [line for line in found if line not in wanted][:4]
                missing = [line for line in wanted if line not in found][:4]
                self.complain("gdb: %s: %s instead of %s" % (name, extra, missing))


def first_difference(ours, theirs):
    for i, (a, b) in enumerate(zip(ours, theirs)):
        if a != b:
            return "%s at instruction %d, where there should be %s" % (a, i, b)
    return "%d instructions, not %d" % (len(ours), len(theirs))


# Attributes of a unit that lead behind the header of its own table: the section, the header's size, and whether a relink may
# lengthen the table (core/dwarf/padding.h).
BASES = {
    "DW_AT_addr_base": (".debug_addr", 8, True),
    "DW_AT_str_offsets_base": (".debug_str_offsets", 8, True),
    "DW_AT_rnglists_base": (".debug_rnglists", 12, False),
    "DW_AT_loclists_base": (".debug_loclists", 12, False),
}


def abbreviations_end(table, at):
    """Where the abbreviations that start at `at` end (DWARF 5, 7.5.3)."""
    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = table[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while number() != 0:
        number()  # tag
        at += 1  # children
        while True:
            attribute, form = number(), number()
            if form == 0x21:  # DW_FORM_implicit_const
                number()
            if attribute == form == 0:
                break
    return at


def units(image):
    """DW_AT_name -> [(section, offset, size)]: what each unit says of itself, from the headers that it points to. A size of None:
    a table that may become longer."""
    out, _ = tool("readelf", "--debug-dump=info", "--dwarf-depth=1", "-W", image.path)
    found, current = {}, None
    info = image.content(".debug_info")
    for line in out.splitlines():
        head = re.search(r"Compilation Unit @ offset (?:0x)?([0-9a-f]+)", line)
        if head:
            at = int(head.group(1), 16)
            current = [(".debug_info", at, struct.unpack_from("<I", info, at)[0] + 4)]
        abbreviations = re.search(r"Abbrev Offset: +(?:0x)?([0-9a-f]+)", line)
        if abbreviations and current is not None:
            at = int(abbreviations.group(1), 16)
            current.append((".debug_abbrev", at, abbreviations_end(image.content(".debug_abbrev"), at) - at))
        base = re.search(r"(DW_AT_\w+_base) *: (?:\(.*?\) )?(0x[0-9a-f]+|\d+)", line)
        if base and base.group(1) in BASES and current is not None:
            section, header, lengthened = BASES[base.group(1)]
            at = int(base.group(2), 0) - header
            current.append((section, at, None if lengthened else struct.unpack_from("<I", image.content(section), at)[0] + 4))
        name = re.search(r"DW_AT_name +: (?:\(.*\): )?(.*)$", line)
        if name and current is not None:
            found[name.group(1).strip().split("/")[-1]] = current
        table = re.search(r"DW_AT_stmt_list +: (?:\(.*?\) )?(0x[0-9a-f]+|\d+)", line)
        if table and current is not None:
            at = int(table.group(1), 0)
            current.append((".debug_line", at, struct.unpack_from("<I", image.content(".debug_line"), at)[0] + 4))
    return found


def check_unchanged(checks, previous, names):
    before, now = Image(previous), checks.image
    was, known = units(before), units(now)
    for name in names:
        if name not in was:
            checks.complain("%s: no unit of that name" % name)
        elif was[name] != known.get(name):
            checks.complain("%s: debug information went from %s to %s" % (name, was[name], known.get(name)))
        else:
            for section, at, size in was[name]:
                start = at
                if size is None:  # behind the length
                    start, size = at + 4, min(struct.unpack_from("<I", image.content(section), at)[0] for image in (before, now)) + 4
                if before.content(section)[start:at + size] != now.content(section)[start:at + size]:
                    checks.complain("%s: other bytes in %s" % (name, section))


def main():
    checks = Checks(sys.argv[1], sys.argv[2])
    checks.run()
    if len(sys.argv) > 3:
        check_unchanged(checks, sys.argv[3], sys.argv[4:])
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
