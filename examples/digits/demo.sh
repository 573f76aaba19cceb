#!/bin/sh
# The main job, end to end: a server that hosts the digits, and a second process that streams them.
# Run it as ./dev demo, which builds first.
set -eu
cd "$(dirname "$0")/../.."
mill=${BATCHMILL:-build/release/batchmill}
folder=$(mktemp -d)
"$mill" serve examples/digits/pipelines.yaml --listen tcp://127.0.0.1:0 2>"$folder/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT INT TERM

url=
tries=0
while [ -z "$url" ]; do
    url=$(sed -n 's/.*event=listening.* url=\([^ ]*\).*/\1/p' "$folder/log")
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ] || ! kill -0 "$server" 2>/dev/null; then
        cat "$folder/log" >&2
        exit 1
    fi
    [ -n "$url" ] || sleep 0.05
done

bold=''
plain=''
if [ -t 1 ]; then
    bold=$(printf '\033[1m')
    plain=$(printf '\033[0m')
fi
run() {
    printf '\n%s$ batchmill %s%s\n' "$bold" "$*" "$plain"
    "$mill" "$@" --server "$url"
}

printf 'A server hosts these pipelines at %s (process %s):\n' "$url" "$server"
run list
printf '\nAn epoch of digits, shuffled by seed 7, 3 batches ahead, strictly in order:\n'
run gen digits --batch-size 16 --shuffle 7 --prefetch 3
printf '\n200 epochs, each in an order of its own, long enough to watch:\n'
run gen digits --batch-size 16 --shuffle 7 --prefetch 3 --n-epochs 200
printf '\nThe first batches of the same order, as lines of JSON:\n'
run gen digits --batch-size 4 --shuffle 7 --prefetch 3 --n-iters 3 --output jsonl --quiet
printf '\nDrained on the server; no batch travels, what the actions added up comes back:\n'
run run digits --batch-size 64 --prefetch 3
printf '\nWhich batch was in which action when; D (burn) is locked, so no column has two of them:\n'
run trace digits-locked --batch-size 64 --prefetch 7 --gantt
