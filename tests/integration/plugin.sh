#!/bin/sh
# plugin.sh -- plug-ins as users make them: the examples are built by their one command, checked and
# served; those that break a promise, or come from a place that others can write, are told so.
set -eu
source=${BATCHMILL_SOURCE_DIR:-$PWD}
work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
umask 022
cd "$work"

fail() {
    echo "$*"
    exit 1
}
expect() { # expect NAME PATTERN FILE
    grep -qe "$2" "$3" || { echo "$1: expected '$2', got:"; cat "$3"; exit 1; }
}
digest() { # digest NAME ARGUMENTS...
    name=$1
    shift
    "$BATCHMILL" gen "$@" --batch-size 64 --seed 3 --digest >"$name.out" 2>&1 ||
        { cat "$name.out"; exit 1; }
    sed -n 's/^ *digest //p' "$name.out"
}
warnings="-Wall -Wextra -Wpedantic -Werror -I$source/src/plugin/include"

# ---- The examples ----

mkdir c
# shellcheck disable=SC2086 # lists of options
cc -shared -fPIC -O2 -std=c99 $warnings "$source/examples/plugin/c/example.c" -o c/example.so
"$BATCHMILL" plugin check c/example.so >check.out || { cat check.out; exit 1; }
expect "check" "same bytes  *ok  *120 items" check.out
expect "check of the source" "source waves" check.out
"$BATCHMILL" actions --plugins c/example.so >actions.out
expect "actions" "^jitter (per item, random)" actions.out
"$BATCHMILL" sources --plugins c >sources.out
expect "sources" "^waves" sources.out

cp "$source/examples/plugin/pipelines.yaml" .
one=$(digest first --config pipelines.yaml waves --prefetch 0)
two=$(digest second --config pipelines.yaml waves --prefetch 8)
[ "$one" = "$two" ] || fail "prefetch 0 gave $one, prefetch 8 $two"
"$BATCHMILL" run --config pipelines.yaml waves --batch-size 64 --quiet >run.out
expect "variables" "wave.count = 640000" run.out

# The same by a server of its own, which gets the plug-in from its command line.
grep -v '^plugins:' pipelines.yaml >served.yaml
"$BATCHMILL" serve served.yaml --plugins c --listen "ipc://$work/socket" 2>serve.out &
server=$!
three=$(digest third --server "ipc://$work/socket" --timeout 60 waves)
[ "$one" = "$three" ] || fail "embedded gave $one, served $three"
"$BATCHMILL" describe --server "ipc://$work/socket" waves >before.out
kill "$server"
wait "$server" || fail "the server ended with $?"
server=

# jitter in other languages gives the same bytes; where there is no compiler, it is left out.
jitter() { # jitter PLUGIN
    cat <<END
plugins: $1
sources: {r: {range: {n: 500}}}
pipelines:
  p: {source: r, actions: [{cast: {components: x, dtype: float32}}, {jitter: {component: x}}]}
END
}
jitter c/example.so >c.yaml
expected=$(digest c --config c.yaml p)
same() { # same LANGUAGE PLUGIN
    "$BATCHMILL" plugin check "$2" >check.out || { cat check.out; exit 1; }
    jitter "$2" >"$1.yaml"
    got=$(digest "$1" --config "$1.yaml" p)
    [ "$got" = "$expected" ] || fail "$1: expected the digest of C, $expected, got $got"
}
languages=C
if command -v c++ >/dev/null; then
    # shellcheck disable=SC2086
    c++ -shared -fPIC -O2 -std=c++11 $warnings "$source/examples/plugin/cpp/example.cpp" -o cpp.so
    same cpp cpp.so
    languages="$languages, C++"
fi
if command -v rustc >/dev/null; then
    rustc -O --crate-type cdylib -C panic=abort "$source/examples/plugin/rust/example.rs" -o rust.so
    chmod 755 rust.so
    same rust rust.so
    languages="$languages, Rust"
fi

# ---- An action that is done elsewhere ----

# shellcheck disable=SC2086
cc -shared -fPIC -O1 -pthread $warnings "$source/tests/plugins/waiting.c" -o waiting.so
"$BATCHMILL" plugin check waiting.so >check.out || { cat check.out; exit 1; }
expect "done elsewhere" "same bytes *ok *120 items.*batches of 16 and 7" check.out
expect "failed elsewhere" "1 failed: .*twice.*, item 7: nobody can double this" check.out

# ---- Other code is another pipeline ----

fingerprint() {
    "$BATCHMILL" describe --config pipelines.yaml waves | sed -n 's/.*fingerprint //p'
}
first=$(fingerprint)
# shellcheck disable=SC2086
cc -shared -fPIC -O1 -std=c99 $warnings "$source/examples/plugin/c/example.c" -o c/example.so
[ "$first" != "$(fingerprint)" ] || fail "other code, same fingerprint"

# ---- What may not be loaded ----

refused() { # refused NAME PATTERN PATH
    if "$BATCHMILL" actions --plugins "$3" >refused.out 2>&1; then
        fail "$1: was loaded"
    fi
    expect "$1" "$2" refused.out
}
refused "nothing there" "cannot find the plug-in: No such file" nowhere.so
mkdir empty
refused "an empty folder" "expected plug-ins (\*.so) in the folder, got none" empty
echo "no object" >text.so
refused "a text" "cannot load the plug-in: .*text.so: " text.so
echo 'int other;' >other.c
cc -shared -fPIC other.c -o other.so
refused "another object" "expected a plug-in that exports batchmill_plugin()" other.so
# shellcheck disable=SC2086
cc -shared -fPIC -DFUTURE $warnings "$source/tests/plugins/faulty.c" -o future.so
refused "one for a later server" "does not work with ABI 1, which is the newest here" future.so
cp c/example.so open.so
chmod 775 open.so
refused "writable by a group" "can be written by others.*got mode 0775" open.so
mkdir shared
cp c/example.so shared/example.so
chmod 777 shared
refused "a folder for all" "the plug-in's folder can be written by others" shared/example.so
chmod 1777 shared
"$BATCHMILL" actions --plugins shared/example.so >actions.out # nobody can replace it there
ln -s ../c/example.so empty/link.so
"$BATCHMILL" actions --plugins empty >actions.out # what it leads to counts
mkdir both
cp c/example.so both/a.so
cp c/example.so both/b.so
refused "the same names twice" "b.so: action jitter: there is an action of this name already" both
if [ "$(id -u)" -eq 0 ]; then
    cp c/example.so strange.so
    chown 4711 strange.so
    refused "another user's" "expected it to be root's or this user's (0), got user 4711's" \
        strange.so
fi
if "$BATCHMILL" serve --check served.yaml >refused.out 2>&1; then
    fail "served.yaml: expected an unknown source"
fi
expect "without the plug-in" "expected one of the source types" refused.out

# ---- What `plugin check` finds ----

# shellcheck disable=SC2086
cc -shared -fPIC -O1 $warnings "$source/tests/plugins/faulty.c" -o faulty.so
finds() { # finds TYPE PATTERN
    if "$BATCHMILL" plugin check faulty.so --type "$1" --timeout 3 >check.out 2>check.err; then
        cat check.out
        fail "$1: nothing was found"
    fi
    expect "$1" "$2" check.out
}
finds crash "leaks *FAILED *crashed: Segmentation fault\|leaks *FAILED *ended the process"
finds end "leaks *FAILED *ended the process with exit code 3"
finds hang "leaks *FAILED *did not end within 3 s"
finds counts "same bytes *FAILED *item .* other bytes"
finds neighbour "same bytes *FAILED *item .* other bytes in batches of 7"
finds mute "same bytes *FAILED *a batch failed without saying why"
finds beyond "same bytes *FAILED *every batch fails: .*a bug in the plug-in: it wants 17 items"
finds silent "other input *FAILED *refused: refused without saying why"
if ! grep -q __asan_init "$BATCHMILL" && ! grep -q __tsan_init "$BATCHMILL"; then # its own heap
    finds forget "same bytes *FAILED *item .* are all elements written"
    finds leak "leaks *FAILED *4.. bytes are lost each time"
fi
finds nothing 'there is no "nothing" in it'

echo "plug-ins in $languages: built, checked, served; faulty ones found"
