. ./src/fahrenheit.sh
[ "$(fahrenheit 0)" = 32 ] && [ "$(fahrenheit 100)" = 212 ]
