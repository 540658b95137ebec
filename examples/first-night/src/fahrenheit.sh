#!/bin/sh
# Temperatures.

# fahrenheit CELSIUS: prints the same temperature in whole degrees Fahrenheit.
fahrenheit() {
    echo $(($1 * 9 / 5 + 32))
}
