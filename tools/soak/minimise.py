"""Makes a failure small: fewer steps, fewer units and items, then a directive test (testdata/README.md)."""
import os
import re
import time

from edits import restore, snapshot
from session import Failure, Invalid, Session
from write import sources


def kind_of(failure):
    text = str(failure)
    for word in ("the tool died", "not what a cold link gives", "does not answer", "is not taken up", "prints something else", "the linker complains", "links what", "does not link"):
        if word in text:
            return word
    return text[:30]


class Minimiser:
    def __init__(self, seed, failure, seconds):
        self.seed, self.wanted = seed, kind_of(failure)
        self.until = time.time() + seconds
        self.folder = os.path.join(seed.work, "smaller")
        self.last = ""  # what the smallest version failed with

    def fails(self, states):
        """True when these programs, linked one after the other, fail in the same way at the last."""
        if time.time() > self.until:
            return False
        session = Session(self.seed.config, self.folder, self.seed.tools, self.seed.cache)
        try:
            for program in states:
                session.step(program)
        except Failure as failure:
            if kind_of(failure) == self.wanted and program is states[-1]:
                self.last = str(failure)
                return True
            return False
        except Invalid:
            return False
        finally:
            session.close()
        return False

    def fewer_states(self, states):
        for count in (2, 3, 4):
            if len(states) > count and self.fails(states[-count:]):
                return states[-count:] if count == 2 else self.drop_states(states[-count:])
        if len(states) > 4 and not self.fails(states):
            return None
        size = max(1, len(states) // 2)
        while size >= 1 and len(states) > 2:
            i = 0
            while i < len(states) - 1:
                smaller = states[:i] + states[min(i + size, len(states) - 1):]
                if len(smaller) >= 2 and self.fails(smaller):
                    states = smaller
                else:
                    i += size
            size //= 2
        return states

    def drop_states(self, states):
        for i in range(len(states) - 2, -1, -1):
            if len(states) > 2 and self.fails(states[:i] + states[i + 1:]):
                states = states[:i] + states[i + 1:]
        return states

    def without(self, states, change):
        smaller = [restore(snapshot(p)) for p in states]
        for program in smaller:
            change(program)
        return smaller if self.fails(smaller) else states

    def chunks(self, states, names, change):
        """Drops as many of `names` as possible, by halves."""
        names = list(names)
        size = max(1, len(names) // 2)
        while names and size >= 1:
            i = 0
            while i < len(names):
                part = names[i:i + size]
                smaller = self.without(states, lambda program: [change(program, n) for n in part])
                if smaller is not states:
                    states, names = smaller, names[:i] + names[i + size:]
                else:
                    i += size
            size //= 2
        return states

    def reduce(self, states):
        states = self.without(states, lambda p: setattr(p, "restart", False))
        every = lambda get: sorted({n for p in states for n in get(p)})  # noqa: E731
        states = self.chunks(states, every(lambda p: p.units), drop_unit)
        states = self.chunks(states, every(lambda p: p.items), lambda p, n: p.items.pop(n, None))
        states = self.chunks(states, every(lambda p: [(u.name, r.target, r.k, r.how) for u in p.units.values() for r in u.roots]), drop_root)
        states = self.chunks(states, every(lambda p: [(i.id, u.target, u.k) for i in p.items.values() for u in i.uses]), drop_use)
        states = self.chunks(states, every(lambda p: [i.id for i in p.items.values() if i.pad or i.style != "plain" or i.local_static]), plain)
        states = self.chunks(states, every(lambda p: p.headers), lambda p, n: n in p.headers and p.headers.remove(n))
        return states


def drop_unit(program, name):
    program.units.pop(name, None)
    for names in [program.order] + list(program.members.values()):
        if name in names:
            names.remove(name)


def drop_root(program, which):
    unit = program.units.get(which[0])
    if unit is not None:
        unit.roots = [r for r in unit.roots if (r.target, r.k, r.how) != which[1:]]


def drop_use(program, which):
    item = program.items.get(which[0])
    if item is not None:
        item.uses = [u for u in item.uses if (u.target, u.k) != which[1:]]


def plain(program, number):
    item = program.items.get(number)
    if item is not None:
        item.pad, item.style, item.local_static = 0, "plain", False


def minimise(seed, states, failure, found):
    """Writes the case to a file below `found` and returns its path, or says why not."""
    small = Minimiser(seed, failure, seed.options.minimise)
    small.last = str(failure)
    states = small.fewer_states([restore(s) for s in states])
    if states is None:
        return "(not to be had again)"
    states = small.reduce(states)
    os.makedirs(found, exist_ok=True)
    path = os.path.join(found, "seed%d_step%d.test" % (seed.seed, seed.step))
    with open(path, "w", encoding="utf-8") as out:
        out.write(directive_test(seed, states, small))
    return path


def directive_test(seed, states, small):
    """The programs as a test; whoever mends the bug says what it shows."""
    lines = ["# Soak: seed %d, step %d: %s" % (seed.seed, seed.step, re.sub(r"\s+", " ", seed.what)[:300]),
             "# %s" % re.sub(r"\s+", " ", small.last)[:400], "@compilers " + seed.config.cc]
    session = Session(seed.config, small.folder, seed.tools, seed.cache)
    try:
        files, built, archives, link = {}, {}, {}, None
        if seed.config.mode == "shared":
            from session import LOADER
            lines += ["@file loader.c", LOADER.rstrip(), "@shell " + seed.config.cc + " loader.c -o loader -ldl"]
        for program in states:
            texts = sources(program)
            for name, text in texts.items():
                if files.get(name) != text:
                    lines += ["@file " + name, text.rstrip("\n")]
            jobs = {}
            for source, unit in [("main.c", None)] + [(u.source, u) for u in program.units.values()]:
                needs = [texts[source], texts["base.h"]] + ([texts[h] for h in program.included(unit.name)] if unit else [])
                flags = " ".join(session.command(source, unit)[1:-2])
                if built.get(source) != (needs, flags):
                    built[source] = (needs, flags)
                    jobs.setdefault(flags, []).append(source)
            files = texts
            lines += ["@compile %s %s" % (flags, " ".join(list_)) for flags, list_ in jobs.items()]
            lines += other_inputs(session, program, jobs, archives)
            lines += ["@restart"] if program.restart and link is not None else []
            lines += link_lines(session, program, link)
            link = session.inputs(program)
    finally:
        session.close()
    return "\n".join(lines) + "\n"


def other_inputs(session, program, jobs, archives):
    lines, changed = [], {s.rsplit(".", 1)[0] for list_ in jobs.values() for s in list_}
    for group, name in (("arA", "libA.a"), ("arB", "libB.a")):
        members = list(program.members[group])
        if archives.get(name) != members or changed & set(members):
            how = "@shell rm -f %s; ar rcsT" % name if session.config.thin else "@archive"
            lines.append("%s %s %s" % (how, name, " ".join(m + ".o" for m in members)))
            archives[name] = members
    if "s0" in changed and session.config.mode != "static":
        lines.append("@shell %s -shared -o libS.so s0.o" % session.config.cc)
    return lines


def link_lines(session, program, before):
    inputs, suffix = session.inputs(program), ".so" if session.config.mode == "shared" else ""
    words = " ".join("'%s'" % w if "$" in w else w for w in inputs)
    lines = ["@relink PATCHED none"] if inputs == before else ["@link++ -Wl,--gate=exact,--move=%s %s -o program%s" % (session.config.move, words, suffix)]
    try:
        session.build(program)
        session.link(program, None, "expected" + suffix)
        lines += ["@run ./loader ./program.so" if suffix else "@run ./program", session.output_of("expected" + suffix).split("\n", 1)[1].rstrip("\n")]
    except Invalid:
        pass
    return lines
