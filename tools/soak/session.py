"""Builds what a program's model says, links it through a session that stays hot, and compares."""
import hashlib
import os
import re
import select
import shutil
import subprocess

from write import sources


class Failure(Exception):
    """A relink that was not as good as a link from scratch."""


class Invalid(Exception):
    """The program does not compile or link with the system's tools, either."""


class Config:
    """What a seed's program is built with."""

    def __init__(self, rng, without=(), link_with=(), move="auto"):
        self.move = move
        self.cc, self.cxx = rng.choice([("gcc", "g++"), ("gcc", "g++"), ("clang", "clang++")])
        self.mode = rng.choice([m for m in ("pie", "pie", "pie", "nopie", "static", "shared") if "-" + m not in without])
        self.flags = ["-w", rng.choice(["-O0", "-O1", "-O2"])]
        self.flags += rng.choice([[], ["-g"], ["-g"], ["-g", "-gdwarf-4"]])
        self.flags += rng.choice([["-ffunction-sections", "-fdata-sections"], ["-ffunction-sections", "-fdata-sections"], ["-ffunction-sections"], []])
        self.flags += {"pie": ["-fPIE"], "nopie": ["-fno-pie"], "static": ["-fno-pie"], "shared": ["-fPIC", "-DSHARED"]}[self.mode]
        self.flags += rng.choice([[], [], [], ["-fno-plt"], []])
        self.link = {"pie": ["-pie"], "nopie": ["-no-pie"], "static": ["-static"], "shared": ["-shared"]}[self.mode]
        self.link += rng.choice([[], [], [], [], ["-Wl,--gc-sections"], ["-Wl,-z,now"], ["-Wl,--build-id"], ["-rdynamic"] if self.mode in ("pie", "nopie") else []])
        self.group = rng.random() < 0.3
        self.thin = rng.random() < 0.1
        # Build ids are checked wherever there are any. gcc's driver asks for them as it is configured, which is mostly that it does;
        # half of clang's programs have them. No chance is asked, so that seeds mean what they meant.
        if self.cc == "clang" and "-Wl,--build-id" not in self.link and len(self.flags + self.link) % 2:
            self.link.append("-Wl,--build-id")
        self.flags = [f for f in self.flags if f not in without]
        self.link = [f for f in self.link if f not in without] + [f for f in link_with if f not in self.link]

    def __str__(self):
        return " ".join([self.cc] + self.flags + self.link + (["group"] if self.group else []) + (["thin"] if self.thin else []) + ["--move=" + self.move])


def run(command, cwd, timeout=60, **more):
    try:
        return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout, **more)
    except subprocess.TimeoutExpired as slow:
        return subprocess.CompletedProcess(command, 124, slow.stdout or b"took too long")


class Cache:
    """Objects by the hash of what they are made of."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)

    def compile(self, jobs, cwd):
        """jobs: (command, output, text that it depends on). Two at a time."""
        waiting, prefix = [], "-fdebug-prefix-map=%s=." % cwd
        for command, output, text in jobs:
            key = hashlib.sha256("\0".join(command + [text]).encode()).hexdigest()
            path = os.path.join(self.folder, key)
            process = None
            if not os.path.exists(path):
                process = subprocess.Popen(command + [prefix, "-o", path + ".new"], cwd=cwd, stdin=subprocess.DEVNULL,
                                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            waiting.append((process, path, output))
            if sum(1 for w in waiting if w[0] is not None and w[0].poll() is None) >= 2:
                process.wait()
        failed = None
        for process, path, output in waiting:
            if process is not None:
                said = process.communicate()[0]
                if process.returncode != 0:
                    failed = failed or said.decode(errors="replace")
                    continue
                os.rename(path + ".new", path)
            if failed is None:
                place(path, os.path.join(cwd, output))
        if failed:
            raise Invalid("does not compile: " + failed[:2000])


def place(source, target):
    """Puts an object in place: sometimes written over, as assemblers do, sometimes exchanged, as tools with temporary files do."""
    if int(os.path.basename(source)[:2], 16) % 3:
        shutil.copyfile(source, target)
    else:
        shutil.copyfile(source, target + ".new")
        os.rename(target + ".new", target)


class Outcome:
    def __init__(self, text):
        words = dict(re.findall(r"(\w+)=(\S*)", text.split(" detail=")[0]))
        self.outcome, self.reason = words.get("outcome", "?"), words.get("reason", "?")
        self.us = int(words.get("us", 0))
        detail = re.search(r" detail=(.*) output=", text)
        self.detail = detail.group(1) if detail else ""


class Session:
    """A relink_tool with one output. `tools` has relink_tool, cold_ld and session_ld.sh."""

    def __init__(self, config, folder, tools, cache):
        self.config, self.folder, self.cache = config, folder, cache
        self.files, self.built, self.archives, self.tool = {}, {}, {}, None
        self.steps = 0
        self.session = folder + ".session"
        for path in (folder, self.session):
            shutil.rmtree(path, ignore_errors=True)
            os.makedirs(path)
        self.bin = os.path.join(self.session, "bin")
        os.makedirs(self.bin)
        os.symlink(tools["session_ld"], os.path.join(self.bin, "ld"))
        self.checks = tools.get("checks")
        self.cold_bin = os.path.join(self.session, "cold-bin")
        os.makedirs(self.cold_bin)
        os.symlink(tools["cold_ld"], os.path.join(self.cold_bin, "ld"))
        for name in ("in", "out"):
            os.mkfifo(os.path.join(self.session, name))
        self.environment = dict(os.environ, LC_ALL="C", SESSION_DIR=self.session, RELINK_TOOL=tools["relink_tool"], COLD_LD=tools["cold_ld"])
        self.log = open(os.path.join(self.session, "log"), "wb")
        self.tool = subprocess.Popen([tools["relink_tool"], os.path.join(self.session, "in"), os.path.join(self.session, "out")],
                                     stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        if config.mode == "shared":
            self.write({"loader.c": LOADER})
            done = run([config.cc, "loader.c", "-o", "loader", "-ldl"], folder)
            if done.returncode != 0:
                raise Invalid("no loader: %r" % done.stdout)

    def close(self):
        if self.tool is not None:
            self.tool.kill()
            self.tool.wait()
            self.log.close()

    def write(self, files):
        for name, text in files.items():
            with open(os.path.join(self.folder, name), "w", encoding="ascii") as out:
                out.write(text)

    def command(self, name, unit):
        """How a unit is compiled; main.c has none."""
        cfg = self.config
        cxx = unit is not None and unit.lang == "cc"
        flags = [cfg.cxx, "-std=c++17"] if cxx else [cfg.cc, "-std=gnu11", "-fcommon"]
        flags += cfg.flags
        if unit is not None:
            flags = flags + unit.flags + (["-fPIC", "-fvisibility=default"] if unit.group == "so" else [])
        return flags + ["-c", name]

    def build(self, program):
        """Compiles and archives what has changed. On failure nothing is known to be built."""
        files = sources(program)
        self.write({n: t for n, t in files.items() if self.files.get(n) != t})
        self.files = files
        units = [("main.c", "main.o", None)] + [(u.source, u.object, u) for u in program.units.values()]
        jobs, built = [], {}
        for source, output, unit in units:
            headers = [files["base.h"]] + ([files[h] for h in program.included(unit.name)] if unit is not None else [])
            command = self.command(source, unit)
            text = "\0".join([files[source]] + headers)
            built[output] = (command, text)
            if self.built.get(output) != built[output]:
                jobs.append((command, output, text))
        before, self.built = self.built, {}
        self.cache.compile(jobs, self.folder)
        self.built = built
        changed = {o for _, o, _ in jobs}
        for group, name in (("arA", "libA.a"), ("arB", "libB.a")):
            members = [program.units[m].object for m in program.members[group]]
            if before and self.archives.get(name) == members and not changed & set(members):
                continue
            path = os.path.join(self.folder, name)
            if os.path.exists(path):
                os.remove(path)
            if run(["ar", "rcsT" if self.config.thin else "rcs", name] + members, self.folder).returncode != 0:
                raise Invalid("ar fails")
            self.archives[name] = members
        if not before or "s0.o" in changed:
            if "s0" in program.units and self.config.mode != "static":
                done = run([self.config.cc, "-shared", "-o", "libS.so", "s0.o"], self.folder)
                if done.returncode != 0:
                    raise Invalid("no library")
        return [o for _, o, _ in jobs]

    def inputs(self, program):
        cfg = self.config
        objects = ["main.o"] + [n + ".o" for n in program.order]
        archives = ["libA.a", "libB.a"]
        if cfg.group:
            archives = ["-Wl,--start-group"] + archives + ["-Wl,--end-group"]
        library = ["s0.o"] if cfg.mode == "static" else ["libS.so", "-Wl,-rpath,$ORIGIN"]
        if "s0" not in program.units:
            library = []
        return objects + archives + library + cfg.link + program.extra

    def link(self, program, ld, output):
        cfg = self.config
        use = [] if ld is None else (["--ld-path=" + ld] if cfg.cc == "clang" else ["-B" + os.path.dirname(ld)])
        gate = [] if ld is None else ["-Wl,--gate=exact,--move=" + cfg.move]
        return run([cfg.cxx] + use + gate + self.inputs(program) + ["-o", output], self.folder, 120, env=self.environment)

    def restart(self, path):
        """Ends the session; the next link takes up what is on disk."""
        into, out = (os.open(os.path.join(self.session, name), os.O_RDWR) for name in ("in", "out"))
        try:
            os.write(into, ("restart %s\n" % path).encode())
            said = b""
            while not said.endswith(b"\n") and select.select([out], [], [], 60)[0]:
                said += os.read(out, 1)
        finally:
            os.close(into)
            os.close(out)
        if said != b"result: done\n":
            raise Failure("does not answer: a restart: %r" % said)

    def check_tools(self, program, suffix):
        """Debuggers and the like say of the output what they say of a fresh link."""
        fresh = self.link(program, os.path.join(self.cold_bin, "ld"), "fresh" + suffix)
        if fresh.returncode != 0:
            raise Failure("a fresh link fails: " + fresh.stdout.decode(errors="replace")[:1000])
        done = run(["python3", "-B", self.checks, "program" + suffix, "fresh" + suffix], self.folder, 600)
        if done.returncode != 0:
            raise Failure("tools disagree: " + done.stdout.decode(errors="replace")[:3000])

    def output_of(self, name):
        command = ["./loader", "./" + name] if self.config.mode == "shared" else ["./" + name]
        done = run(command, self.folder, 20)
        return "exit status %d\n" % done.returncode + done.stdout.decode(errors="replace")

    def reply(self, name):
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as text:
                return text.read()
        except OSError:
            return ""

    def step(self, program):
        """One build and relink. Returns the Outcome; raises Invalid, or Failure when the relink is wrong."""
        self.build(program)
        suffix = ".so" if self.config.mode == "shared" else ""
        peer = self.link(program, None, "expected" + suffix)
        wanted = self.output_of("expected" + suffix) if peer.returncode == 0 else None
        if wanted is not None and not wanted.startswith("exit status 0\n"):
            raise Invalid("the program itself is wrong: " + wanted[-300:])
        for name in (".reply", ".verdict"):
            if os.path.exists(os.path.join(self.folder, name)):
                os.remove(os.path.join(self.folder, name))
        path = os.path.join(self.folder, "program" + suffix)
        restarted = os.path.exists(path) and program.restart
        if os.path.exists(path):
            shutil.copyfile(path, os.path.join(self.folder, "previous"))
            self.steps += 1
            if self.steps % 5 == 2:  # as many makefiles do
                os.remove(path)
                restarted = False  # nothing would be taken up
        if restarted:
            self.restart(path)
        ours = self.link(program, os.path.join(self.bin, "ld"), "program" + suffix)
        said = ours.stdout.decode(errors="replace")
        if self.tool.poll() is not None:
            raise Failure("the tool died: %d %s" % (self.tool.returncode, said[:500]))
        if peer.returncode != 0:
            if ours.returncode == 0:
                raise Failure("links what the system's linker refuses: " + peer.stdout.decode(errors="replace")[:1500] + self.reply(".reply"))
            if "not what a cold link gives" in said or "does not answer" in said:
                raise Failure(said[:3000])
            raise Invalid("does not link: " + peer.stdout.decode(errors="replace")[:1000])
        if ours.returncode != 0:
            raise Failure("does not link: " + said[:3000])
        outcome = Outcome(self.reply(".reply"))
        if restarted and outcome.reason in ("first-link", "state-unusable", "state-stale"):
            raise Failure("is not taken up: %s %s" % (outcome.reason, outcome.detail))
        if "warning" not in peer.stdout.decode(errors="replace") and said:
            raise Failure("the linker complains: " + said[:2000])
        if self.checks and outcome.outcome == "PATCHED":
            self.check_tools(program, suffix)
        got = self.output_of("program" + suffix)
        if got != wanted:
            raise Failure("prints something else (%s):\n%s" % (outcome.outcome, difference(wanted, got)))
        outcome.restarted = restarted
        return outcome


def difference(wanted, got):
    a, b = wanted.splitlines(), got.splitlines()
    for i in range(max(len(a), len(b))):
        left, right = (a[i] if i < len(a) else "(nothing)"), (b[i] if i < len(b) else "(nothing)")
        if left != right:
            return "line %d: expected %s, got %s" % (i, left, right)
    return "no difference"


LOADER = """#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) { puts(dlerror()); return 1; }
  void (*run)(void) = (void (*)(void))dlsym(library, "run_all");
  if (!run) { puts(dlerror()); return 1; }
  run();
  return argc - 2;
}
"""
