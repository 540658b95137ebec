#!/bin/sh
# An agent without a model: what a program has to do so that nightshift can use it.
#
# The prompt comes on standard input, the task's id in NIGHTSHIFT_TASK, the number of the try in
# NIGHTSHIFT_ATTEMPT. It edits files in its working directory and ends with 0. It never commits. What only a
# person can answer, it asks in a block of JSON.
set -eu
cat > /dev/null # the prompt; a real agent reads it

case "$NIGHTSHIFT_TASK" in
temp-1)
    cat > src/celsius.sh << 'END'
#!/bin/sh
# Temperatures.

# celsius FAHRENHEIT: prints the same temperature in whole degrees Celsius.
celsius() {
    echo $((($1 - 32) * 5 / 9))
}
END
    cat > tests/celsius_test.sh << 'END'
. ./src/celsius.sh
[ "$(celsius 32)" = 0 ] && [ "$(celsius 212)" = 100 ]
END
    ;;
temp-2)
    mkdir -p docs
    cat > docs/usage.md << 'END'
# Usage

    . ./src/fahrenheit.sh && fahrenheit 100
    . ./src/celsius.sh && celsius 212
END
    ;;
*)
    printf '%s\n' '```nightshift' \
        "{\"questions\": [\"I know no task $NIGHTSHIFT_TASK; what should I do?\"]}" '```'
    ;;
esac
