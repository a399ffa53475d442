#!/bin/bash
# A small program of C and C++ files: edits that a seed makes up, built and linked one after the other by gcc, the clients
# and the daemon as they are installed. Every link has to be as good as one from scratch; how many were patched is said.
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
