"""Writes the sources of a program."""
from model import HEADER_KINDS, Use, numbers

BASE = """#ifndef BASE_H
#define BASE_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ctype.h>
typedef unsigned u;
#define NOINLINE __attribute__((noinline))
#ifdef __cplusplus
extern "C" {
#endif
void note(const char *what, u value);
u hash_text(const char *text);
u callback(u x);
#ifdef __cplusplus
}
struct Thrown { u value; Thrown(u v) : value(v) {} };
struct Other : Thrown { Other(u v) : Thrown(v + 1) {} };
#endif
#endif
"""
LIBC = {
    "strlen": "(u)strlen(\"abcdef\" + (x & 3))", "abs": "(u)abs((int)(x & 255) - 100)",
    "toupper": "(u)toupper('a' + (int)(x & 7))", "strtoul": "(u)strtoul(x & 1 ? \"123\" : \"77\", 0, 10)",
    "atoi": "(u)atoi(x & 1 ? \"41\" : \"-5\")", "strcspn": "(u)strcspn(\"hello world\", x & 1 ? \"w\" : \"o\")",
    "memcmp": "(u)(memcmp(\"abc\", \"abd\", 2 + (x & 1)) != 0)", "strchr": "(u)(strchr(\"xyz\", 'x' + (int)(x & 3)) != 0)",
    "labs": "(u)labs((long)(x & 15) - 9)", "strspn": "(u)strspn(\"aabbcc\", x & 1 ? \"a\" : \"ab\")",
    "isalnum": "(u)(isalnum('0' + (int)(x & 31)) != 0)", "strncmp": "(u)(strncmp(\"abcd\", \"abce\", 3 + (x & 1)) != 0)",
    "getenv": "(u)(getenv(x & 1 ? \"NO_SUCH_NAME\" : \"NEITHER\") != 0)", "div": "(u)div((int)(x & 255), 7).rem",
}


def words(values):
    return ", ".join("%du" % v for v in values)


class Writer:
    """Writes one unit or header."""

    def __init__(self, program, home):
        self.p, self.home = program, home
        self.cxx = home in program.headers or program.units[home].lang == "cc"
        self.decls = {}

    # Declarations of what is elsewhere.
    def declare(self, target, use):
        if target.kind in HEADER_KINDS or (target.home == self.home and use.how != "weak"):
            return
        name, how = target.name, use.how
        extern = "extern \"C\" " if self.cxx and not target.cxx else "extern "
        if target.kind == "thrower":
            text = "extern u %s(u);" % name
        elif target.kind == "asmfn":
            text = "%su %s(u), %s_mid(u);" % (extern, name, name)
        elif target.kind == "rel":
            text = "%sconst int %s[];" % (extern, name)
        elif target.kind in ("fn", "alias", "ifunc", "setsum"):
            weak = " __attribute__((weak))" if how == "weak" and target.home != self.home else ""
            text = "%su %s(u)%s;" % (extern, name, weak)
        elif target.kind in ("data", "dalias"):
            text = "%s%su %s[];" % (extern, "const " if self.constant(target) else "", name)
        elif target.kind == "common":
            text = "u %s[%d];" % (name, target.n + use.k) if how == "tent" and not self.cxx else "%su %s[];" % (extern, name)
        elif target.kind == "tls":
            text = "%s__thread u %s[];" % (extern, name)
        elif target.kind == "strs":
            text = "%sconst char *const %s[];" % (extern, name)
        elif target.kind == "fns":
            text = "%su (*const %s[])(u);" % (extern, name)
        elif target.kind == "ptr":
            of = self.p.items[target.uses[0].target]
            text = "%s%su *%s%s;" % (extern, "const " if of.const else "", "const " if target.const else "", name)
        else:
            return
        old = self.decls.get(name)
        if old is None or how in ("tent", "weak"):
            self.decls[name] = text

    def expression(self, use):
        """What a use computes from x, or None when it cannot be made here."""
        if use.how == "libc":
            return LIBC[use.name]
        if use.how == "absent":
            self.decls[use.name] = "extern %su %s(u);" % ("\"C\" " if self.cxx else "", use.name)
            return use.name + "(x)"
        target = self.p.items.get(use.target)
        if use.how == "weak" and (target is None or not self.p.reaches(self.home, target)):
            if not use.name:
                return None
            self.decls[use.name] = "extern %su %s(u) __attribute__((weak));" % ("\"C\" " if self.cxx else "", use.name)
            return "(%s ? %s(x) : 77u)" % (use.name, use.name)
        if target is None or not self.p.reaches(self.home, target):
            return None
        if self.home not in self.p.headers and self.p.units[self.home].group == "so" and target.home != self.home and target.cxx:
            return None
        self.declare(target, use)
        name, kind, k = target.name, target.kind, use.k
        if kind in ("fn", "alias", "ifunc", "setsum"):
            if use.how == "weak" and target.home != self.home:
                return "(%s ? %s(x + %d) : 78u)" % (name, name, k)
            return "%s(x + %d)" % (name, k)
        if kind == "asmfn":
            return "%s%s(x + %d)" % (name, "_mid" if k & 1 else "", k)
        if kind == "rel":
            return "((u (*)(u))((const char *)%s + %s[0]))(x)" % (name, name)
        if kind in ("data", "common", "dalias"):
            return "%s[%d]" % (name, k % 3) if self.constant(target) or k & 1 else "(%s[%d] += (x & 7))" % (name, k % 3)
        if kind == "tls":
            return "(%s[%d] += x)" % (name, k % 2)
        if kind == "strs":
            return "hash_text(%s[%d])" % (name, k % 3)
        if kind == "fns":
            return self.table_call(target, k)
        if kind == "ptr":
            return self.pointer_use(target)
        if kind == "hinl":
            return "%s(x + %d)" % (name, k)
        if kind == "htpl":
            return "%s<%d>(x)" % (name, k)
        if kind == "hvar":
            return "(%s[%d] += 1)" % (name, k % 3)
        if kind == "hcls":
            return self.virtual_call(target, k)
        if kind == "thrower":
            return ("([](u x) -> u { try { return %s(x); } catch (const Other &e) { return e.value * 3; } catch (const Thrown &e) "
                    "{ return e.value; } catch (int i) { return (u)i; } catch (const char *s) { return hash_text(s); } }(x + %d))" % (name, k))
        return None

    def constant(self, target):
        return self.p.items[target.uses[0].target].const if target.kind == "dalias" else target.const

    def table_call(self, target, k):
        entries = self.p.entries(target)
        k %= min(2, len(entries))
        text = "%s[%d](x)" % (target.name, k)
        entry = self.p.items[entries[k].target]
        # A table's entry and the name itself must be one address. (GNU ld, which links the expected program, gives an IFUNC
        # two where the loader may look it up, as with -rdynamic.)
        if entry.kind != "ifunc" and self.p.reaches(self.home, entry) and (self.home in self.p.headers or entry.id % 2):
            self.declare(entry, Use(entry.id))
            text = "(%s + (%s[%d] == %s) * 1000u)" % (text, target.name, k, entry.name)
        return text

    def pointer_use(self, target):
        use = target.uses[0]
        of = self.p.items[use.target]
        text = "*%s" % target.name
        if of.linkage != "static" and self.p.reaches(self.home, of) and of.id % 2:
            self.declare(of, Use(of.id))
            text = "(%s + (%s == &%s[%d]) * 1000u)" % (text, target.name, of.name, use.k % 3)
        return text

    def virtual_call(self, target, k):
        if target.key_home is not None and not self.key_reachable(target):
            return None
        if target.base in self.p.items:
            base = self.p.items[target.base]
            return ("([](u x) -> u { %s o(%d); %s *b = &o; __asm__(\"\" : \"+r\"(b)); return b->get(x) + (dynamic_cast<%s *>(b) == &o); }(x))"
                    % (target.name, k, base.name, target.name))
        return "([](u x) -> u { %s o(%d); %s *b = &o; __asm__(\"\" : \"+r\"(b)); return b->get(x); }(x))" % (target.name, k, target.name)

    def key_reachable(self, target):
        if target.key_home not in self.p.units:
            return False
        if self.home in self.p.headers:
            return False
        here, there = self.p.units[self.home], self.p.units[target.key_home]
        return here.group != "so" and there.group == "obj" and there.lang == "cc"

    def body(self, item, first="x"):
        values = numbers(item.seed, 12 + item.pad)
        lines = ["u r = %s * %du + %du;" % (first, values[0], values[1])]
        for i in range(item.pad):
            lines.append("r = (r ^ %du) * %du + (r >> %d);" % (values[12 + i], values[i % 12], 1 + i % 7))
        if item.style == "switch":
            lines.append("switch (x %% %d) {" % (5 + item.seed % 4))
            lines += ["  case %d: r = hash_text(\"case %d\") + r * %d; break;" % (i, values[i], values[i + 1]) for i in range(6)]
            lines.append("  default: r ^= %du; }" % values[7])
        elif item.style == "float":
            lines.append("{ double d = x & 63; d = d * %d.25 + %d.5; r += (u)d; float f = x & 31; r += (u)(f * %d.75f); }" % tuple(values[2:5]))
        elif item.style == "text":
            lines.append("r += hash_text(\"text %d of %d\");" % (values[2], values[3]))
        elif item.style == "vector":
            lines.append("{ u v[8] = {%s}; r += v[x & 7]; }" % words(values[2:10]))
        elif item.style == "loop":
            lines.append("for (u i = 0; i < (x & 7); ++i) r = r * %du + i;" % values[2])
        if item.local_static:
            lines.append("static u count = %du; r += count++;" % (values[5] if not item.zero else 0))
        if item.fill:
            lines.append("__asm__ volatile(\".fill %d, 1, 0x90\");" % item.fill)
        for use in item.uses:
            text = self.expression(use)
            if text is not None:
                lines.append("r += %s;" % text)
        return "{\n  " + "\n  ".join(lines) + "\n  return r;\n}"

    def prefix(self, item):
        text = {"static": "static ", "hidden": "__attribute__((visibility(\"hidden\"))) ", "weak": "__attribute__((weak)) ",
                "protected": "__attribute__((visibility(\"protected\"))) "}.get(item.linkage, "")
        if item.align:
            text += "__attribute__((aligned(%d))) " % item.align
        return text

    def global_data(self, item, declaration, value):
        """A definition with C linkage, in C++ by way of a declaration first: constants would be static."""
        attributes = self.prefix(item)
        if self.cxx and item.linkage != "static":
            return "extern \"C\" { extern %s; %s%s%s; }" % (declaration, attributes, declaration, value)
        return "%s%s%s;" % (attributes, declaration, value)

    def item(self, item):
        return getattr(self, "write_" + item.kind)(item)

    def write_fn(self, item):
        extern = "extern \"C\" " if self.cxx and not item.cxx and item.linkage != "static" else ""
        noinline = "NOINLINE " if item.noinline or item.linkage == "weak" else ""
        return "%s%s%su %s(u x) %s" % (extern, self.prefix(item), noinline, item.name, self.body(item))

    def write_thrower(self, item):
        values = numbers(item.seed, 4)
        what = ["Thrown(x + %d)" % values[0], "Other(x)", "(int)%d" % values[1], "\"thrown %d\"" % values[2]][item.seed % 4]
        guard = "struct Guard { u v; ~Guard() { note(\"unwound %s\", v); } } guard{x + %d};" % (item.name, values[3])
        body = self.body(item)[2:]
        return "%sNOINLINE u %s(u x) {\n  %s\n  if ((x & 3) == %d) throw %s;\n%s" % (self.prefix(item), item.name, guard, item.seed & 3, what, body)

    def write_data(self, item):
        value = " = {%s}" % ("0" if item.zero else words(numbers(item.seed, item.n)))
        return self.global_data(item, "%su %s[%d]" % ("const " if item.const else "", item.name, item.n), value)

    def write_common(self, item):
        return "%su %s[%d];" % (self.prefix(item) if item.linkage == "global" else "", item.name, item.n)

    def write_tls(self, item):
        value = "" if item.zero else " = {%s}" % words(numbers(item.seed, item.n))
        storage = "static " if item.linkage == "static" else ""
        text = "__thread u %s[%d]%s;" % (item.name, item.n, value)
        if storage:
            return storage + text
        if self.cxx:
            return "extern \"C\" { extern __thread u %s[%d]; %s }" % (item.name, item.n, text)
        return text

    def write_strs(self, item):
        texts = ", ".join("\"row %d %s\"" % (v, "x" * (v % 17)) for v in numbers(item.seed, item.n))
        return self.global_data(item, "const char *const %s[%d]" % (item.name, item.n), " = {%s}" % texts)

    def write_fns(self, item):
        rows = []
        for use in self.p.entries(item):
            target = self.p.items[use.target]
            self.declare(target, use)
            rows.append(target.name)
        rows = (rows * item.n)[:max(item.n, len(rows))]
        return self.global_data(item, "u (*const %s[%d])(u)" % (item.name, len(rows)), " = {%s}" % ", ".join(rows))

    def write_ptr(self, item):
        use = item.uses[0]
        target = self.p.items[use.target]
        self.declare(target, use)
        declaration = "%su *%s%s" % ("const " if target.const else "", "const " if item.const else "", item.name)
        return self.global_data(item, declaration, " = &%s[%d]" % (target.name, use.k % 3))

    def write_ctor(self, item):
        prio = "(%d)" % item.prio if item.prio else ""
        what = "destructor" if item.style == "dtor" else "constructor"
        return "__attribute__((%s%s)) static void %s(void) { u x = %du; %s }" % (
            what, prio, item.name, item.seed % 50, self.noted(item))

    def noted(self, item):
        return "u total = 0; %s note(\"%s\", total);" % ("".join(
            "total += %s; " % t for t in map(self.expression, item.uses) if t is not None), item.name)

    def write_cobj(self, item):
        name = item.name
        return "namespace { struct S%s { u v; S%s() : v(%du) { u x = v; %s } ~S%s() { note(\"end %s\", v); } } %s; }" % (
            name, name, item.seed % 90, self.noted(item), name, name, name)

    def write_set(self, item):
        return "__attribute__((section(\"set_%d\"), used)) static u %s[%d] = {%s};" % (
            item.of, item.name, item.n, words(numbers(item.seed, item.n)))

    def write_setsum(self, item):
        extern = "extern \"C\" " if self.cxx else ""
        hidden = " __attribute__((weak, visibility(\"hidden\")))"
        of = item.of
        one = "extern \"C\" " if self.cxx else "extern "
        return ("%su __start_set_%d[]%s; %su __stop_set_%d[]%s;\n%sNOINLINE u %s(u x) { for (u *p = __start_set_%d; p != __stop_set_%d; ++p) x = x * 31 + *p; return x; }"
                % (one, of, hidden, one, of, hidden, extern, item.name, of, of))

    def write_asmfn(self, item):
        """A function with a label in its middle that others call, too."""
        values, name = numbers(item.seed, 3), item.name
        lines = [".pushsection .text.%s,\"ax\",@progbits" % name if item.seed % 2 else ".pushsection .text", ".globl %s, %s_mid" % (name, name),
                 ".type %s, @function" % name, "%s: leal %d(%%rdi), %%eax" % (name, values[0]), ".skip %d, 0x90" % (item.pad * 3), "jmp 1f",
                 "%s_mid: leal %d(%%rdi), %%eax" % (name, values[1]), "1: imull $%d, %%eax, %%eax" % values[2], "ret",
                 ".size %s, . - %s" % (name, name), ".popsection"]
        return "__asm__(\"%s\");\n%su %s(u), %s_mid(u);" % ("\\n".join(l.replace("\"", "\\\"") for l in lines), self.extern(), name, name)

    def extern(self):
        return "extern \"C\" " if self.cxx else "extern "

    def write_rel(self, item):
        """How far it is from a constant to a function."""
        name, target = item.name, self.p.items[item.uses[0].target].name
        lines = [".pushsection .rodata.%s,\"a\",@progbits" % name, ".balign 4", ".globl %s" % name, ".type %s, @object" % name,
                 "%s: .long %s - %s" % (name, target, name), ".size %s, 4" % name, ".popsection"]
        self.declare(self.p.items[item.uses[0].target], item.uses[0])
        return "__asm__(\"%s\");\n%sconst int %s[];" % ("\\n".join(l.replace("\"", "\\\"") for l in lines), self.extern(), name)

    def write_dalias(self, item):
        return "extern %su %s[] __attribute__((alias(\"%s\")));" % (
            "const " if self.p.items[item.uses[0].target].const else "", item.name, self.p.items[item.uses[0].target].name)

    def write_alias(self, item):
        extern = "extern \"C\" " if self.cxx else "extern "
        return "%su %s(u) __attribute__((alias(\"%s\")));" % (extern, item.name, self.p.items[item.uses[0].target].name)

    def write_ifunc(self, item):
        values = numbers(item.seed, 2)
        block = ("static u %s_impl(u x) { return x * %du + %du; }\n%su (*%s_choose(void))(u) { return %s_impl; }\n"
                 "u %s(u x) __attribute__((ifunc(\"%s_choose\")));" % (item.name, values[0], values[1], "" if self.cxx else "static ", item.name, item.name, item.name, item.name))
        return "extern \"C\" { %s }" % block if self.cxx else block

    def write_hinl(self, item):
        return "inline %su %s(u x) %s" % ("NOINLINE " if item.noinline else "", item.name, self.body(item))

    def write_htpl(self, item):
        return "template <unsigned N> %su %s(u x) %s" % ("NOINLINE " if item.noinline else "", item.name, self.body(item, "(x + N)"))

    def write_hvar(self, item):
        return "inline %su %s[%d] = {%s};" % ("__attribute__((aligned(%d))) " % item.align if item.align else "", item.name, item.n, words(numbers(item.seed, item.n)))

    def write_hcls(self, item):
        base = self.p.items.get(item.base)
        base = base if base is not None and self.p.alive(base) and base.home in self.p.headers else None
        value = numbers(item.seed, 8)
        key = item.key_home is not None
        lines = ["struct %s%s {" % (item.name, " : " + base.name if base else ""), "  u v;",
                 "  explicit %s(u k) : %sv(k + %du) {}" % (item.name, base.name + "(k), " if base else "", value[0])]
        if key:
            lines.append("  virtual u get(u x);")
        else:
            lines.append("  virtual u get(u x) { return v * x + %du; }" % value[1])
        for m in range(item.methods):
            lines.append("  virtual u method%d(u x) { return get(x) ^ %du; }" % (m, value[2 + m % 5]))
        lines += ["  virtual ~%s() {}" % item.name, "};"]
        return "\n".join(lines)

    def ordered(self):
        items = [i for i in self.p.of_unit(self.home) if self.p.alive(i)]
        return sorted(items, key=lambda i: (self.p.level(i), i.key, i.id))

    def keys(self):
        """Key functions of classes, which bring their vtables."""
        out = []
        unit = self.p.units[self.home]
        if unit.lang != "cc" or unit.group != "obj":
            return out
        for item in self.p.items.values():
            if item.kind == "hcls" and item.key_home == self.home and item.home in self.p.included(self.home):
                out.append("u %s::get(u x) { return v * x + %du; }" % (item.name, numbers(item.seed, 3)[2]))
        return out


def header_text(program, name):
    writer = Writer(program, name)
    bodies = [writer.item(i) for i in writer.ordered()]
    before = program.headers[:program.headers.index(name)]
    return "\n".join(["#pragma once", "#include \"base.h\""] + ["#include \"%s\"" % h for h in before[-1:]] +
                     list(writer.decls.values()) + bodies) + "\n"


def unit_text(program, name):
    unit = program.units[name]
    writer = Writer(program, name)
    bodies = [writer.item(i) for i in writer.ordered()] + writer.keys()
    if unit.group == "obj":
        extern = "extern \"C\" " if unit.lang == "cc" else ""
        lines = []
        for i, use in enumerate(unit.roots):
            text = writer.expression(use)
            if text is not None:
                lines.append("  x = %du; note(\"%s.%d\", %s);" % (i + 1, name, i, text))
        bodies.append("%svoid run_%s(void) {\n  u x = 0;\n%s\n}" % (extern, name, "\n".join(lines)))
    includes = ["#include \"base.h\""] + ["#include \"%s\"" % h for h in program.included(name)[-1:]]
    return "\n" * unit.lines + "\n".join(includes + list(writer.decls.values()) + bodies) + "\n"


def main_text(program):
    names = [u for u in program.order if program.units[u].group == "obj"]
    return "\n".join(
        ["#include \"base.h\"",
         "void note(const char *what, u value) { printf(\"%s %u\\n\", what, value); fflush(stdout); }",
         "u hash_text(const char *text) { u h = 5381; while (*text) h = h * 33 + (unsigned char)*text++; return h; }",
         "u callback(u x) { return x * 7 + 1; }"] +
        ["void run_%s(void);" % n for n in names] +
        ["void run_all(void) {"] + ["  run_%s();" % n for n in names] + ["}", "#ifndef SHARED", "int main(void) { run_all(); return 0; }", "#endif", ""])


def sources(program):
    """All files of the program: name -> text."""
    files = {"base.h": BASE, "main.c": main_text(program)}
    for header in program.headers:
        files[header] = header_text(program, header)
    for name, unit in program.units.items():
        files[unit.source] = unit_text(program, name)
    return files
