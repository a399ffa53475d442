#!/bin/bash
# A small program of C and C++ files: edits that a seed makes up, built and linked one after the other by gcc, the clients
# and the daemon as they are installed. Every link has to be as good as one from scratch; how many were patched is said.
# Then a git repository's own commits: in their order, those of the first parents, and what the report says of each.
#   replay_test.sh KITLINKD KITLINK_LINK KITLINKC LD_KIT REPLAY
set -eu
prefix=$(mktemp -d /tmp/kitlink-replay-test-XXXXXX)
trap 'rm -rf "$prefix"' EXIT
mkdir -p "$prefix/bin" "$prefix/libexec/kitlink" "$prefix/program/src"
cp "$1" "$prefix/bin/kitlinkd"
cp "$2" "$prefix/libexec/kitlink/kitlink-link"
cp "$3" "$prefix/bin/kitlinkc"
cp "$4" "$prefix/bin/ld.kit"
ln -s ../../bin/ld.kit "$prefix/libexec/kitlink/ld"
replay=$(readlink -f "$5")

cd "$prefix/program"
for name in alpha beta gamma delta; do
  cat >src/$name.c <<END
#include <stdio.h>
#include "all.h"

/* What $name does. */
static int step_of_$name(int x)
{
    return x + 1;
}

int run_$name(int x) {
    printf("$name %d\n", step_of_$name(x));
    return x;
}
END
done
for name in first second; do
  cat >src/$name.cc <<END
#include <cstdio>
#include "all.h"

extern "C" int run_$name(int x) {
    printf("$name %d\n", x);
    return x;
}
END
done
cat >src/main.c <<'END'
#include "all.h"

int main(void) {
    int x = run_alpha(1) + run_beta(2) + run_gamma(3) + run_delta(4) + run_first(5) + run_second(6);
    return x == 21 ? 0 : 1;
}
END
cat >src/all.h <<'END'
#ifndef ALL_H
#define ALL_H
struct pair {
    int a;
};
#ifdef __cplusplus
extern "C" {
#endif
int run_alpha(int), run_beta(int), run_gamma(int), run_delta(int), run_first(int), run_second(int);
#ifdef __cplusplus
}
#endif
#endif
END
cat >Makefile <<'END'
OBJECTS = src/main.o src/alpha.o src/beta.o src/gamma.o src/delta.o src/first.o src/second.o
CFLAGS = -O1 -g -w
program: $(OBJECTS)
	g++ $(B) -rdynamic $(OBJECTS) -o $@
$(OBJECTS): src/all.h
%.o: %.c
	gcc $(CFLAGS) -c $< -o $@
%.o: %.cc
	g++ $(CFLAGS) -c $< -o $@
END
for seed in 1 2; do
  "$replay" . --prefix="$prefix" --output=program --build='make -s B="-B $KITLINK"' --check=./program --invent="$seed" \
    --commits=15 --sources src --list=Makefile:src/main.o --least=40
done

# commit MESSAGE: what the program prints belongs to the commit, so that --check notices another one's tree.
commit() {
  git add -A
  git commit -q -m "$1"
}
prints() { printf '%s\n' "$@" >expected.txt; }

# wrong MESSAGE: with what replay said.
wrong() {
  echo "FAILED: $1" >&2
  cat "$prefix/said" >&2
  exit 1
}

mkdir "$prefix/repository"
cd "$prefix/repository"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@localhost
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost
git init -q -b trunk
cp -r ../program/src ../program/Makefile .
echo '*.o' >.gitignore
echo program >>.gitignore
# Older than what is asked for: it would not even build.
mv src/main.c kept
commit "nothing yet"
mv kept src/main.c
prints "alpha 2" "beta 3" "gamma 4" "delta 5" "first 5" "second 6"
commit "all there"
sed -i 's/return x + 1/return x + 100/' src/alpha.c
prints "alpha 101" "beta 3" "gamma 4" "delta 5" "first 5" "second 6"
commit "body"
git tag body
echo "A program." >README
commit "read me"
echo "int half(" >>src/beta.c
commit "half a function"
sed -i 's/^int half($/int twice_of_beta(int x) { return 2 * x; }/; s/step_of_beta(x))/twice_of_beta(x))/' src/beta.c
prints "alpha 101" "beta 4" "gamma 4" "delta 5" "first 5" "second 6"
commit "a new function"
# Two commits on a side branch come as one, and the one of them that prints something else is never built.
git checkout -q -b side
sed -i 's/gamma %d/wrong %d/' src/gamma.c
commit "side: begun"
sed -i 's/wrong %d/gamma is %d/' src/gamma.c
prints "alpha 101" "beta 4" "gamma is 4" "delta 5" "first 5" "second 6"
commit "side: done"
git checkout -q trunk
git merge -q --no-ff -m "merge of side" side
# Not committed: replay works in a clone.
echo "int unfinished(" >>src/delta.c
tip=$(git rev-parse HEAD) status=$(git status --porcelain)

# replayed STATUS OPTION...: replays with these and wants that exit status.
replayed() {
  local wanted=$1 got=0
  shift
  "$replay" . --prefix="$prefix" --output=program --build='make -s B="-B $KITLINK"' "$@" >"$prefix/said" 2>&1 || got=$?
  [ "$got" = "$wanted" ] || wrong "exit status $got, not $wanted: $*"
}
check='--check=./program | cmp - expected.txt'

replayed 0 "$check" --commits=5 --least=1 --json="$prefix/rows"
python3 -B - "$prefix/rows" <<'END' || wrong "the rows are others: $(cat "$prefix/rows")"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
# How long things take is the machine's business.
said = [(row["number"], row["what"], row["result"].replace("patched, but slow", "patched"), row["verified"]) for row in rows]
assert said == [(1, "body", "patched", True), (2, "read me", "not linked", True), (3, "half a function", "does not build", True),
                (4, "a new function", "patched", True), (5, "merge of side", "patched", True)], said
for row in rows:
    linked = row["result"].startswith("patched")
    assert (row["us"] > 0, row["full_us"] > 0, row["inputs_read"] > 0) == (linked,) * 3, row
assert "error" in rows[2]["detail"].lower(), rows[2]
END
grep -q "^ *3  links of 5 commits; 1 did not build, 1 linked nothing$" "$prefix/said" || wrong "no such line of counts"
[ "$(git rev-parse HEAD)" = "$tip" ] && [ "$(git status --porcelain)" = "$status" ] || wrong "the repository was changed"

# A branch that is not checked out; the side's own commits are its first parents.
replayed 0 "--check=./program" --commits=2 --branch=side --json="$prefix/rows"
grep -q '"what": "side: begun"' "$prefix/rows" && grep -q '"what": "side: done"' "$prefix/rows" || wrong "not the side's commits"

# What must not be good: too few patches, a program that prints something else, a beginning that is wrong or does not build,
# and no history at all.
replayed 1 "$check" --commits=2 --branch=trunk^ --least=101
replayed 1 '--check=! ./program | grep -q "alpha 101"' --commits=1 --branch=body
grep -q "WRONG  *body" "$prefix/said" || wrong "it did not say which is wrong"
replayed 1 --check=false --commits=1
grep -q "the first commit is linked wrongly" "$prefix/said" || wrong "it went on after a wrong beginning"
replayed 1 "$check" --commits=6
grep -q "the first commit does not build" "$prefix/said" || wrong "it began with another commit"
rm -rf .git
replayed 1 "$check" --commits=1
grep -q "is no git repository" "$prefix/said" || wrong "it took a plain folder"
