#!/usr/bin/env bash
# Runs one check on the checkout. The runfiles hold a link to the workspace
# file, which leads to the real tree: a check must also see the files that no
# target lists yet. Use: lint_test.sh WORKSPACE CHECK
set -euo pipefail
root=$(dirname "$(readlink -f "$1")")
exec "$root/tools/lint/lint" "$2" "$root"
