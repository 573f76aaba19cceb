#!/bin/sh
# headers.sh CC "FLAGS;..." "-IDIR;..." -- every header compiles alone, and twice; what users
# include also compiles as C99 and as C++.
set -eu
compiler=$1
options=$(printf '%s %s' "$2" "$3" | tr ';' ' ')
failed=0

# syntax PATH COMPILER OPTION...
syntax() {
    path=$1
    shift
    if ! printf '#include "%s/%s"\n#include "%s/%s"\n' "$PWD" "$path" "$PWD" "$path" |
        "$@" -fsyntax-only -; then
        echo "$path: does not compile alone with: $*"
        failed=1
    fi
}

count=0
for header in $(find src server client tests -name '*.h' | sort); do
    # shellcheck disable=SC2086 # a list of options
    syntax "$header" "$compiler" -std=gnu17 $options \
        -I. -Isrc -Itests -Iclient/c/include -Isrc/plugin/include -x c
    count=$((count + 1))
done
for header in $(find client/c/include src/plugin/include -name '*.h' | sort); do
    syntax "$header" "$compiler" -std=c99 -Iclient/c/include -Wall -Wextra -Wpedantic -Werror -x c
    syntax "$header" clang -std=c++11 -Iclient/c/include -Wall -Wextra -Wpedantic -Werror -x c++
done
# A plug-in may be a client of another server.
for order in "client plugin" "plugin client"; do
    for language in "c -std=c99" "c++ -std=c++11"; do
        # shellcheck disable=SC2086 # a list of options
        if ! printf '#include <batchmill/%s.h>\n' $order | clang -Iclient/c/include \
            -Isrc/plugin/include -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x $language -; then
            echo "batchmill/*.h do not compile together: $order, $language"
            failed=1
        fi
    done
done
[ "$count" -gt 0 ] || { echo "no header found in $PWD"; exit 1; }
[ "$failed" -eq 0 ] && echo "$count headers compile alone"
exit "$failed"
