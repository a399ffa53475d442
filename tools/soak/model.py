"""A program as items in units and headers, so that an edit is a change of the model and every reference stays consistent.

Items name each other by id, never by name: renaming, moving or removing one changes whoever uses it when the sources are
written again. A use of an item that is gone, or out of reach, writes nothing.
"""
import random

RANK = {"obj": 0, "arA": 1, "arB": 2, "so": 3}
HEADER_KINDS = ("hinl", "htpl", "hvar", "hcls")
CALLABLE = ("fn", "alias", "ifunc", "setsum", "asmfn")


class Use:
    """How one item uses another: `k` is an index or a template argument; a weak use survives its target."""

    def __init__(self, target, k=0, how=""):
        self.target, self.k, self.how, self.name = target, k, how, ""


class Item:
    def __init__(self, number, kind, home, **params):
        self.id, self.kind, self.home = number, kind, home
        self.name = "%s%d" % (kind, number)
        self.key = number  # order among items of one level
        self.uses = []
        self.linkage = "global"
        self.seed, self.n, self.pad, self.align, self.fill = number, 3, 0, 0, 0
        self.style, self.zero, self.const, self.cxx, self.noinline = "plain", False, False, False, True
        self.prio, self.libc, self.base, self.key_home, self.methods = 0, "", None, None, 1
        self.local_static, self.alias_of, self.of = False, None, 0
        self.__dict__.update(params)


class Unit:
    def __init__(self, name, lang, group, headers=()):
        self.name, self.lang, self.group = name, lang, group
        self.headers = list(headers)
        self.roots = []  # what run_NAME uses and prints
        self.flags = []
        self.lines = 0   # blank lines at the top: only line numbers change

    @property
    def source(self):
        return self.name + "." + self.lang

    @property
    def object(self):
        return self.name + ".o"


class Program:
    def __init__(self):
        self.items, self.units, self.headers, self.serial = {}, {}, [], 0
        self.order = []          # objects on the command line
        self.members = {"arA": [], "arB": []}
        self.extra = []          # link options that an edit added
        self.restart = False     # the session ends before this is linked

    def new(self, kind, home, **params):
        self.serial += 1
        item = Item(self.serial, kind, home, **params)
        self.items[item.id] = item
        return item

    def unit_of(self, item):
        return self.units.get(item.home)

    def of_unit(self, name):
        return [i for i in self.items.values() if i.home == name]

    def alive(self, item, seen=()):
        """True when the item can be written: what it cannot do without is there."""
        if item is None or item.id in seen:
            return False
        if item.kind in HEADER_KINDS:
            return item.home in self.headers
        if item.home not in self.units:
            return False
        if item.kind in ("ptr", "alias", "dalias", "rel"):
            target = self.items.get(item.uses[0].target) if item.uses else None
            if item.kind in ("alias", "dalias") and (target is None or target.home != item.home):
                return False
            if item.kind == "rel" and (target is None or target.linkage != "hidden"):
                return False
            if item.kind == "alias" and target is not None and target.linkage == "static" and self.units[item.home].lang == "cc":
                return False  # its name is mangled
            return target is not None and self.reaches(item.home, target, seen + (item.id,))
        if item.kind == "fns":
            return bool(self.entries(item, seen + (item.id,)))
        if item.kind == "common" and self.units[item.home].lang != "c":
            return False
        return True

    def entries(self, item, seen=()):
        out = []
        for use in item.uses:
            target = self.items.get(use.target)
            if target is not None and target.kind in CALLABLE and self.reaches(item.home, target, seen):
                out.append(use)
        return out

    def reaches(self, home, target, seen=()):
        """True when code in `home` (a unit or a header) may refer to `target`."""
        if not self.alive(target, seen):
            return False
        header = home in self.headers
        if not header and home not in self.units:
            return False
        cxx = header or self.units[home].lang == "cc"
        if target.kind in HEADER_KINDS:
            if header:
                return target.home == home or self.headers.index(target.home) < self.headers.index(home)
            return cxx and target.home in self.included(home)
        if target.linkage == "static":
            return target.home == home
        if (target.cxx or target.kind == "thrower") and not cxx:
            return False
        there = self.units[target.home].group
        here = "obj" if header else self.units[home].group
        if here == "so":  # the library calls back
            return there == "so" or (there == "obj" and target.linkage == "global" and not target.cxx and target.kind != "ifunc")
        if there == "so" and target.linkage == "hidden":
            return False
        return there == "obj" or RANK[here] <= RANK[there]

    def included(self, unit):
        """Headers of a unit, with those that they include: each includes all before it."""
        mine = [self.headers.index(h) for h in self.units[unit].headers if h in self.headers]
        return self.headers[:max(mine) + 1] if mine else []

    def used(self, item):
        uses = list(item.uses)
        return [self.items[u.target] for u in uses if u.target in self.items]

    def costs(self):
        """How many calls one use of each item makes; None when some item would call itself."""
        costs, active = {}, set()

        def cost(item):
            if item.id in costs:
                return costs[item.id]
            if item.id in active:
                raise RecursionError
            active.add(item.id)
            extra = [self.items[b] for b in (item.base, item.alias_of) if b in self.items]
            total = 1 + sum(cost(t) for t in self.used(item) + extra)
            active.discard(item.id)
            costs[item.id] = total
            return total

        try:
            for item in list(self.items.values()):
                cost(item)
        except RecursionError:
            return None
        return costs

    def level(self, item, depth=0):
        if depth > 60:
            return 60
        below = [self.level(t, depth + 1) + 1 for t in self.used(item) if t.home == item.home]
        if item.base in self.items:
            below.append(self.level(self.items[item.base], depth + 1) + 1)
        return max(below, default=0)


def numbers(seed, n, limit=1000):
    rng = random.Random(seed)
    return [rng.randrange(1, limit) for _ in range(n)]
