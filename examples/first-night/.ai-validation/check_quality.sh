#!/usr/bin/env bash
# The gate: every test of the project, on exactly one commit's files. Exit code 0 means green.
set -u
failed=0
count=0
for test in tests/*_test.sh; do
    count=$((count + 1))
    if sh "$test"; then
        echo "ok $(basename "$test" .sh)"
    else
        echo "not ok $(basename "$test" .sh)"
        failed=1
    fi
done
echo "# tests $count"
exit "$failed"
