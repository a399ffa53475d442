"""The first program of a seed, and the edits that change it. All chance comes from the given generator: a seed repeats."""
import pickle

from model import CALLABLE, HEADER_KINDS, Item, Program, Unit, Use
from write import LIBC

MOST_CALLS = 400  # that one use may lead to
UNIT_KINDS = ["fn"] * 10 + ["data"] * 5 + ["strs", "strs", "fns", "fns", "ptr", "ptr", "tls", "common", "set", "ctor", "alias", "ifunc", "asmfn", "dalias", "rel"]
CXX_KINDS = ["thrower", "thrower", "cobj"]


class Editor:
    """Edits `program` in place."""

    def __init__(self, program, rng, options):
        self.p, self.rng, self.cxx_only, self.without = program, rng, options.cxx_only, options.without

    # Choices.
    def pick(self, items):
        items = list(items)
        return self.rng.choice(items) if items else None

    def some(self, kind=None, where=None):
        return self.pick(i for i in self.p.items.values()
                         if (kind is None or i.kind in kind) and (where is None or where(i)) and self.p.alive(i))

    def objects(self, lang=None):
        return [u for u in self.p.units.values() if u.group == "obj" and lang in (None, u.lang)]

    def code_units(self):
        return [u for u in self.p.units.values() if u.group != "so"]

    def dig(self):
        self.p.serial += 1
        return self.rng.randrange(1 << 20)

    # Making things.
    def make(self, kind, home):
        rng, unit = self.rng, self.p.units.get(home)
        item = self.p.new(kind, home, seed=rng.randrange(1 << 20), n=rng.choice([3, 3, 4, 5, 9]))
        if kind == "fn":
            item.linkage = rng.choice(["static", "static", "global", "global", "global", "hidden", "weak"])
            item.style = rng.choice(["plain", "plain", "switch", "float", "text", "vector", "loop"])
            item.pad, item.noinline, item.local_static = rng.choice([0, 0, 2, 6, 20]), rng.random() < 0.8, rng.random() < 0.15
            item.zero, item.cxx = rng.random() < 0.5, unit.lang == "cc" and unit.group != "so" and rng.random() < 0.3
        elif kind in ("data", "tls", "common", "strs", "fns", "ptr"):
            item.linkage = rng.choice(["static", "global", "global", "hidden"]) if kind != "common" else "global"
            item.zero, item.const = rng.random() < 0.4, kind == "data" and rng.random() < 0.4 or kind == "ptr" and rng.random() < 0.5
            if "tbss" in self.without and kind == "tls":
                item.zero = False
            if kind == "tls" and item.linkage == "hidden":
                item.linkage = "global"
        elif kind == "ctor":
            item.style, item.prio = rng.choice(["ctor", "ctor", "dtor"]), rng.choice([0, 0, 101, 200, 200, 1000])
            if unit.group != "obj":  # which member comes first is every linker's own choice
                item.prio = 2000 + item.id % 60000
        elif kind in ("set", "setsum"):
            item.of, item.n = rng.randrange(2), rng.choice([1, 1, 2])
        elif kind == "hcls":
            item.methods = rng.choice([0, 1, 2])
        elif kind in ("hinl", "htpl"):
            item.style = rng.choice(["plain", "text", "switch", "float", "vector"])
            item.pad, item.noinline, item.local_static = rng.choice([0, 3]), rng.random() < 0.6, rng.random() < 0.3
        if unit is not None and unit.group == "so":
            item.linkage = "global" if item.linkage in ("hidden", "weak") else item.linkage
        for _ in range(self.wants(kind)):
            self.add_use_to(item)
        self.complete(item)
        return item

    def wants(self, kind):
        if kind in ("fn", "thrower", "hinl", "htpl"):
            return self.rng.choice([0, 0, 1, 1, 2])
        return 1 if kind in ("ctor", "cobj") and self.rng.random() < 0.5 else 0

    def complete(self, item):
        """Gives an item what it cannot be without, or drops it."""
        if item.kind == "ptr":
            target = self.some(("data",), lambda t: t.id != item.id and self.p.reaches(item.home, t) and self.own_so(item, t))
            item.uses = [Use(target.id, self.rng.randrange(3))] if target else []
        elif item.kind == "alias":
            target = self.some(("fn",), lambda t: t.home == item.home and not t.cxx and t.linkage in ("global", "static", "hidden"))
            item.uses = [Use(target.id)] if target else []
        elif item.kind == "dalias":
            target = self.some(("data",), lambda t: t.home == item.home and t.linkage == "global")
            item.uses, item.const = [Use(target.id)] if target else [], bool(target and target.const)
        elif item.kind == "rel":
            target = self.some(("fn",), lambda t: t.linkage == "hidden" and not t.cxx and self.p.reaches(item.home, t))
            item.uses = [Use(target.id)] if target else []
        elif item.kind == "fns":
            for _ in range(3):
                target = self.some(CALLABLE, lambda t: self.p.reaches(item.home, t) and not t.cxx and self.own_so(item, t))
                if target:
                    item.uses.append(Use(target.id))
        elif item.kind == "hcls" and self.rng.random() < 0.5:
            base = self.some(("hcls",), lambda t: t.id < item.id and t.home == item.home)
            item.base = base.id if base else None
        if not self.acceptable() or not self.p.alive(item):
            self.p.items.pop(item.id, None)

    def own_so(self, item, target):
        """A library's own tables refer to what is its own."""
        unit = self.p.units.get(item.home)
        return unit is None or unit.group != "so" or target.home == item.home

    def acceptable(self):
        costs = self.p.costs()
        return costs is not None and max(costs.values(), default=0) <= MOST_CALLS

    def a_use(self, home, item=None):
        rng = self.rng
        if rng.random() < 0.08 and (home in self.p.units):
            use = Use(-1, how="libc")
            use.name = rng.choice(sorted(LIBC))
            return use
        target = self.some(None, lambda t: t.kind not in ("ctor", "cobj", "set") and (item is None or t.id != item.id) and self.p.reaches(home, t))
        if target is None:
            return None
        use = Use(target.id, rng.randrange(6))
        if target.kind == "common" and target.home != home and rng.random() < 0.5:
            use.how = "tent"
        if target.kind == "fn" and not target.cxx and target.home != home and home in self.p.units and rng.random() < 0.1 and "weakref" not in self.without:
            use.how, use.name = "weak", target.name
        return use

    def add_use_to(self, item):
        use = self.a_use(item.home, item)
        if use is None:
            return False
        item.uses.append(use)
        if self.acceptable():
            return True
        item.uses.pop()
        return False

    def add_root(self, unit, target=None):
        use = Use(target.id, self.rng.randrange(6)) if target else self.a_use(unit.name)
        if use is not None:
            unit.roots.append(use)

    def generate(self):
        rng, p = self.rng, self.p
        p.headers = ["h0.h", "h1.h", "h2.h"]
        for i in range(rng.randrange(9, 15)):
            lang = "cc" if self.cxx_only or rng.random() < 0.45 else "c"
            headers = [rng.choice(p.headers)] if lang == "cc" and rng.random() < 0.8 else []
            p.units["u%d" % i] = Unit("u%d" % i, lang, "obj", headers)
            p.order.append("u%d" % i)
        for group, count in (("arA", 4), ("arB", 3), ("so", 1)):
            for i in range(count):
                name = "%s%d" % ({"arA": "a", "arB": "b", "so": "s"}[group], i)
                lang = "cc" if group != "so" and rng.random() < 0.4 else "c"
                p.units[name] = Unit(name, lang, group, ["h0.h"] if lang == "cc" and rng.random() < 0.5 else [])
                if group != "so":
                    p.members[group].append(name)
        for header in p.headers:
            for _ in range(3):
                self.make(rng.choice(HEADER_KINDS), header)
        for name in ("s0", "b0", "b1", "b2", "a0", "a1", "a2", "a3"):
            for _ in range(4):
                item = self.make(rng.choice(["fn", "fn", "data", "strs", "tls", "ctor" if name != "s0" else "fn"]), name)
                if item.kind != "ctor" and item.linkage == "static":
                    item.linkage = "global"
        for name in list(p.order):
            for _ in range(rng.randrange(3, 9)):
                self.make(self.kind_for(p.units[name]), name)
        self.make("setsum", p.order[0])
        for item in [i for i in p.of_unit("s0") if i.kind == "fn"]:
            self.add_use_to(item)
        for unit in self.objects():
            for _ in range(rng.randrange(2, 6)):
                self.add_root(unit)

    def kind_for(self, unit):
        if unit.group == "so":
            return self.rng.choice(["fn", "data", "strs"])
        kinds = UNIT_KINDS + (CXX_KINDS if unit.lang == "cc" else [])
        unfit = ("common", "dalias") if unit.lang == "cc" else ()
        unfit += ("set", "cobj") if unit.group != "obj" else ()
        unfit += ("set",) if "sets" in self.without else ()
        return self.rng.choice([k for k in kinds if k not in unfit])

    # Edits: each returns what it did, or None when it could not.
    def body(self):
        item = self.some(("fn", "thrower", "hinl", "htpl", "ifunc", "asmfn") if self.rng.random() < 0.1 else ("fn", "thrower"), self.not_so)
        item.seed = self.dig()
        return "body of " + item.name

    def not_so(self, item):
        return item.home in self.p.headers or self.p.units[item.home].group != "so"

    def grow_function(self):
        item = self.some(("fn", "thrower", "asmfn"), self.not_so)
        item.pad += self.rng.choice([1, 4, 20, 80])
        return "grow " + item.name

    def shrink_function(self):
        item = self.some(("fn", "thrower", "asmfn"), lambda i: i.pad > 0 and self.not_so(i))
        item.pad //= 3
        return "shrink " + item.name

    def style(self):
        item = self.some(("fn",), self.not_so)
        item.style = self.rng.choice(["plain", "switch", "float", "text", "vector", "loop"])
        return "style of %s: %s" % (item.name, item.style)

    def local_static(self):
        item = self.some(("fn", "hinl", "htpl"), self.not_so)
        item.local_static = not item.local_static
        return "static variable in " + item.name

    def text(self):
        item = self.some(("strs",), self.not_so)
        item.seed = self.dig()
        return "strings of " + item.name

    def values(self):
        item = self.some(("data", "tls", "set"), self.not_so)
        item.seed = self.dig()
        return "values of " + item.name

    def add(self, kinds=None, home=None):
        unit = home or self.pick(self.code_units())
        if kinds and unit.group != "obj":
            kinds = [k for k in kinds if k not in ("set", "cobj")]
        if kinds and "sets" in self.without:
            kinds = [k for k in kinds if k != "set"]
        kind = self.rng.choice([k for k in kinds if k not in ("common", "dalias") or unit.lang == "c"] or ["data"]) if kinds else self.kind_for(unit)
        item = self.make(kind, unit.name)
        if item.id not in self.p.items:
            return None
        users = [u for u in self.objects() if self.p.reaches(u.name, item)]
        user = unit if unit in users and self.rng.random() < 0.5 else self.pick(users)
        if user is not None and kind not in ("ctor", "cobj", "set"):
            self.add_root(user, item)
        return "%s %s in %s, used by %s" % (item.linkage, item.name, unit.name, user.name if user else None)

    def add_function(self):
        return self.add(["fn"])

    def add_data(self):
        return self.add(["data", "strs"])

    def add_table(self):
        return self.add(["fns", "ptr"])

    def add_rare(self):
        return self.add(["ctor", "set", "tls", "common", "alias", "ifunc", "asmfn", "asmfn", "dalias", "rel"])

    def add_cxx(self):
        unit = self.pick(self.objects("cc"))
        return self.add(CXX_KINDS, unit) if unit else None

    def add_unused(self):
        unit = self.pick(self.code_units())
        item = self.make(self.kind_for(unit), unit.name)
        return "unused %s in %s" % (item.name, unit.name)

    def remove(self):
        item = self.some(None, lambda i: i.home not in self.p.headers and self.not_so(i))
        del self.p.items[item.id]
        return "remove %s %s from %s" % (item.linkage, item.name, item.home)

    def rename(self):
        item = self.some(None, self.not_so)
        item.name = "%s%d_%d" % (item.kind, item.id, self.dig() % 1000)
        return "rename to " + item.name

    def move(self):
        item = self.some(("fn", "data", "strs", "fns", "ptr", "tls", "common", "thrower", "ctor", "set", "asmfn", "rel"),
                         lambda i: i.linkage != "static" and self.not_so(i))
        was = item.home
        lang = None if not item.cxx and item.kind not in ("thrower", "common") else ("c" if item.kind == "common" else "cc")
        units = self.objects() if item.kind in ("ctor", "set") else self.code_units()
        unit = self.pick(u for u in units if u.name != was and lang in (None, u.lang))
        item.home = unit.name
        if not self.acceptable():
            return None
        return "move %s from %s to %s" % (item.name, was, unit.name)

    def add_use(self):
        if self.rng.random() < 0.6:
            unit = self.pick(self.objects())
            self.add_root(unit)
            return "use in " + unit.name
        item = self.some(("fn", "thrower", "ctor"), self.not_so)
        return "use in " + item.name if self.add_use_to(item) else None

    def drop_use(self):
        if self.rng.random() < 0.6:
            unit = self.pick(u for u in self.objects() if u.roots)
            unit.roots.pop(self.rng.randrange(len(unit.roots)))
            return "one use less in " + unit.name
        item = self.some(("fn", "thrower", "ctor", "hinl"), lambda i: bool(i.uses) and self.not_so(i))
        item.uses.pop(self.rng.randrange(len(item.uses)))
        return "one use less in " + item.name

    def libc(self):
        item = self.some(("fn", "thrower"), self.not_so)
        use = Use(-1, how="libc")
        use.name = self.rng.choice(sorted(LIBC))
        item.uses.append(use)
        return "%s calls %s" % (item.name, use.name)

    def use_member(self):
        unit = self.pick(self.objects())
        target = self.some(("fn", "data", "strs", "tls"), lambda i: self.p.units[i.home].group in ("arA", "arB") and self.p.reaches(unit.name, i))
        self.add_root(unit, target)
        return "%s uses %s of %s" % (unit.name, target.name, target.home)

    def use_library(self):
        unit = self.pick(self.objects())
        target = self.some(("fn", "data", "strs"), lambda i: self.p.units[i.home].group == "so" and self.p.reaches(unit.name, i))
        self.add_root(unit, target)
        return "%s uses %s of the library" % (unit.name, target.name)

    def grow_data(self):
        item = self.some(("data", "strs", "fns"), self.not_so)
        item.n += self.rng.choice([1, 3, 10, 60])
        return "%s has %d rows" % (item.name, item.n)

    def shrink_data(self):
        item = self.some(("data", "strs", "fns"), lambda i: i.n > 3 and self.not_so(i))
        item.n = 3 + (item.n - 3) // 3
        return "%s has %d rows" % (item.name, item.n)

    def grow_rare(self):
        item = self.some(("tls", "common", "set", "hvar"), self.not_so)
        item.n += self.rng.choice([1, 2, 8])
        return "%s has %d rows" % (item.name, item.n)

    def grow_huge(self):
        """Beyond what any section has to spare."""
        item = self.some(("fn", "data"), self.not_so)
        if item.kind == "fn":
            item.fill += self.rng.choice([20000, 100000])
            return "%s has %d bytes more" % (item.name, item.fill)
        item.n += self.rng.choice([5000, 30000])
        return "%s has %d rows" % (item.name, item.n)

    def align(self):
        item = self.some(("data", "fn", "strs", "common", "hvar"), self.not_so)
        item.align = self.rng.choice([0, 16, 32, 64, 128])
        return "%s aligned to %d" % (item.name, item.align)

    def zeroes(self):
        item = self.some(("data",) if "tbss" in self.without else ("data", "tls"), lambda i: not i.const and self.not_so(i))
        item.zero = not item.zero
        return "%s is %s" % (item.name, "zero" if item.zero else "not zero")

    def constness(self):
        item = self.some(("data", "ptr"), self.not_so)
        item.const = not item.const
        return "%s is %s" % (item.name, "const" if item.const else "not const")

    def linkage(self):
        item = self.some(("fn", "data", "strs", "fns", "ptr"), self.not_so)
        item.linkage = self.rng.choice(["static", "global", "hidden", "weak", "protected"] if item.kind == "fn" else ["static", "global", "hidden"])
        return "%s is %s" % (item.name, item.linkage)

    def rival(self):
        """A weak definition of a name beside another one, in another unit or an archive."""
        item = self.some(("fn",), lambda i: i.linkage in ("global", "weak") and not i.cxx and self.not_so(i))
        unit = self.pick(u for u in self.code_units() if u.name != item.home)
        twin = self.p.new("fn", unit.name, seed=self.dig(), linkage=self.rng.choice(["weak", "weak", "global"]))
        twin.name = item.name
        return "%s %s also in %s (beside %s)" % (twin.linkage, twin.name, unit.name, item.home)

    def weak_reference(self):
        if "weakref" in self.without:
            return None
        unit = self.pick(self.objects())
        target = self.some(("fn",), lambda i: i.linkage == "global" and not i.cxx and i.home != unit.name and self.p.reaches(unit.name, i))
        use = Use(target.id, 0, "weak")
        use.name = target.name if self.rng.random() < 0.6 else "absent%d" % self.rng.randrange(5)
        use.target = target.id if use.name == target.name else -1
        unit.roots.append(use)
        return "%s refers weakly to %s" % (unit.name, use.name)

    def debug_only(self):
        unit = self.pick(self.code_units())
        unit.lines += self.rng.choice([1, 5, 300])
        return "lines of " + unit.name

    def reorder(self):
        unit = self.pick(self.code_units())
        for item in self.p.of_unit(unit.name):
            item.key = self.rng.randrange(1000)
        return "order inside of " + unit.name

    def flags(self):
        unit = self.pick(self.code_units())
        unit.flags = self.rng.choice([[], ["-O0"], ["-O1"], ["-O2"], ["-Os"], ["-fno-function-sections"], ["-ffunction-sections", "-fdata-sections"], ["-g"], ["-g0"]])
        return "%s with %s" % (unit.name, unit.flags)

    # Headers.
    def header_body(self):
        item = self.some(HEADER_KINDS)
        item.seed = self.dig()
        return "body of " + item.name

    def header_grow(self):
        item = self.some(("hinl", "htpl", "hcls", "hvar"))
        item.pad += self.rng.choice([1, 10])
        item.methods += 1
        return "more in " + item.name

    def header_add(self):
        item = self.make(self.rng.choice(HEADER_KINDS), self.rng.choice(self.p.headers))
        if item.id not in self.p.items:
            return None
        for unit in self.rng.sample(self.objects(), min(3, len(self.objects()))):
            if self.p.reaches(unit.name, item):
                self.add_root(unit, item)
        return "new " + item.name

    def header_remove(self):
        item = self.some(HEADER_KINDS)
        del self.p.items[item.id]
        return "remove " + item.name

    def header_use(self):
        unit = self.pick(self.objects("cc"))
        target = self.some(HEADER_KINDS, lambda i: self.p.reaches(unit.name, i))
        self.add_root(unit, target)
        return "%s uses %s" % (unit.name, target.name)

    def header_include(self):
        unit = self.pick(self.objects("cc"))
        unit.headers = [self.rng.choice(self.p.headers)] if not unit.headers or self.rng.random() < 0.6 else []
        return "%s includes %s" % (unit.name, unit.headers)

    def key_function(self):
        item = self.some(("hcls",))
        unit = self.pick(u for u in self.objects("cc") if item.home in self.p.included(u.name))
        item.key_home = unit.name if unit and self.rng.random() < 0.7 else None
        return "key function of %s in %s" % (item.name, item.key_home)

    # Inputs.
    def member_add(self):
        group = self.rng.choice(["arA", "arB"])
        name = "m%d" % (self.p.serial + 1)
        self.p.units[name] = Unit(name, self.rng.choice(["c", "cc"]), group)
        for _ in range(2):
            self.make(self.rng.choice(["fn", "data"]), name)
        self.p.members[group].insert(self.rng.randrange(len(self.p.members[group]) + 1), name)
        return "member %s in %s" % (name, group)

    def member_remove(self):
        group = self.pick(g for g in ("arA", "arB") if len(self.p.members[g]) > 1)
        name = self.rng.choice(self.p.members[group])
        self.p.members[group].remove(name)
        del self.p.units[name]
        return "no member %s" % name

    def member_reorder(self):
        group = self.rng.choice(["arA", "arB"])
        self.rng.shuffle(self.p.members[group])
        return "order of " + group

    def input_add(self):
        name = "n%d" % (self.p.serial + 1)
        self.p.units[name] = Unit(name, self.rng.choice(["c", "cc"]), "obj")
        self.p.order.insert(self.rng.randrange(len(self.p.order) + 1), name)
        for _ in range(3):
            self.make(self.kind_for(self.p.units[name]), name)
        self.add_root(self.p.units[name])
        return "input " + name

    def input_remove(self):
        if len(self.p.order) < 6:
            return None
        name = self.rng.choice(self.p.order)
        self.p.order.remove(name)
        del self.p.units[name]
        return "no input " + name

    def input_move(self):
        name = self.rng.choice(self.p.order)
        self.p.order.remove(name)
        self.p.order.insert(self.rng.randrange(len(self.p.order) + 1), name)
        return "%s stands elsewhere" % name

    def member_drop(self):
        """All uses of what a member defines go: it may be needed no longer."""
        name = self.pick(self.p.members["arA"] + self.p.members["arB"])
        mine = {i.id for i in self.p.of_unit(name)}
        gone = 0
        for unit in self.objects():
            before = len(unit.roots)
            unit.roots = [u for u in unit.roots if u.target not in mine]
            gone += before - len(unit.roots)
            for item in self.p.of_unit(unit.name):
                if item.kind in ("fn", "thrower", "ctor"):
                    before = len(item.uses)
                    item.uses = [u for u in item.uses if u.target not in mine]
                    gone += before - len(item.uses)
        return "%d uses of %s less" % (gone, name) if gone else None

    def library(self):
        item = self.some(("fn", "data", "strs"), lambda i: not self.not_so(i))
        item.seed = self.dig()
        if self.rng.random() < 0.4:
            self.make("fn", "s0").linkage = "global"
        elif self.rng.random() < 0.5:
            self.add_use_to(item)
        return "library's " + item.name

    def undefined(self):
        """What no linker can link."""
        unit = self.pick(self.objects())
        use = Use(-1, 0, "absent")
        use.name = "absent%d" % self.rng.randrange(5)
        unit.roots.append(use)
        return "%s needs %s" % (unit.name, use.name)

    def null(self):
        return "no change"


COMMON = ["body", "grow_function", "shrink_function", "style", "text", "values", "add_function", "add_data", "add_table", "remove",
          "rename", "move", "add_use", "drop_use", "use_member", "grow_data", "shrink_data", "linkage", "header_body", "header_use",
          "header_add", "header_remove", "header_grow", "add_cxx", "member_add", "libc", "reorder"]
RARE = ["local_static", "add_rare", "add_unused", "use_library", "grow_rare", "align", "zeroes", "constness", "rival", "weak_reference",
        "debug_only", "flags", "grow_huge", "header_include", "key_function", "input_add", "input_remove", "input_move", "member_drop", "library", "member_remove",
        "member_reorder", "undefined", "null"]
KINDS = COMMON * 3 + RARE


def snapshot(program):
    return pickle.dumps(program)


def restore(data):
    return pickle.loads(data)


def one_edit(program, rng, options):
    """Applies one edit of some kind: (kind, what it did)."""
    for _ in range(50):
        kind = rng.choice(options.only or KINDS)
        before = snapshot(program)
        try:
            what = getattr(Editor(program, rng, options), kind)()
        except (AttributeError, IndexError, TypeError, KeyError):
            what = None  # there was nothing that this kind of edit applies to
        if what is not None:
            return kind, what
        program.__dict__.clear()
        program.__dict__.update(restore(before).__dict__)
    return "none", "nothing"


def first_program(rng, options):
    program = Program()
    Editor(program, rng, options).generate()
    return program
