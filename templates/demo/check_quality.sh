#!/bin/sh
# The quality gate: every test passes, every script parses.
set -eu
for script in src/*.sh tests/*.sh; do
    sh -n "$script"
done
sh tests/run.sh
