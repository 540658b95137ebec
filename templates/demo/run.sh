#!/bin/sh
# Runs every tests/*_test.sh and says how each went.
failed=0
count=0
for test in tests/*_test.sh; do
    name=$(basename "$test" .sh)
    count=$((count + 1))
    if sh "$test"; then
        echo "ok $name"
    else
        echo "not ok $name"
        failed=1
    fi
done
echo "# tests $count"
exit $failed
