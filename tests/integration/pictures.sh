#!/bin/sh
# pictures.sh -- a folder of pictures, some of them broken, through decoding, crops and colours: the
# same bytes with any number of workers and any prefetch, with actions joined or kept apart.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

mkdir "$folder/photos" "$folder/photos/cats" "$folder/photos/dogs"
for i in 1 2 3 4 5 6 7; do
    cp tests/data/pictures/wide.jpg "$folder/photos/cats/$i.jpg"
    cp tests/data/pictures/turned.jpg "$folder/photos/dogs/$i.jpg"
done
cp tests/data/pictures/grey.png "$folder/photos/cats/named.jpg" # the first bytes decide
cp tests/data/pictures/cut.jpg "$folder/photos/dogs/cut.jpg"
: >"$folder/photos/cats/empty.jpg"
ngood=15

expect() { # expect NAME EXPECTED GOT
    if [ "$2" != "$3" ]; then
        echo "$1: expected '$2', got '$3'"
        exit 1
    fi
}

configure() { # configure WORKERS LOCK
    cat >"$folder/config.yaml" <<END
workers: $1
sources: {photos: {folder: {path: $folder/photos}}}
pipelines:
  train:
    source: photos
    actions:
      - decode_image: {components: image, broken: drop}
        use_lock: $2
      - random_resized_crop: {components: image, size: 32}
      - flip: {components: image}
      - color_jitter: {components: image, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1}
      - normalize: {components: image, mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4], scale: 255}
        use_lock: $2
      - layout: {components: image, to: chw}
  eval:
    source: photos
    actions:
      - decode_image: {components: image, broken: drop}
        use_lock: $2
      - resize: {components: image, size: 32, mode: short_side}
      - center_crop: {components: image, size: 28}
  strict:
    source: photos
    actions:
      - decode_image: {components: image}
      - resize: {components: image, size: 8}
END
}

gen() { # gen PIPELINE OPTION...
    "$BATCHMILL" gen --config "$folder/config.yaml" --quiet --digest "$@" 2>&1
}

train='' eval=''
for workers in 1 3; do
    for lock in false true; do
        configure "$workers" "$lock"
        for prefetch in 0 4; do
            set -- --batch-size 4 --shuffle=5 --n-epochs 2 --prefetch "$prefetch"
            summary=$(gen train "$@")
            expect "items of train" $((2 * ngood)) \
                "$(echo "$summary" | sed -n 's/.*batches, \([0-9]*\) items.*/\1/p')"
            digest=$(echo "$summary" | sed -n 's/^ *digest //p')
            expect "train, $workers workers, prefetch $prefetch, locks $lock" \
                "${train:=$digest}" "$digest"
            digest=$(gen eval "$@" | sed -n 's/^ *digest //p')
            expect "eval, $workers workers, prefetch $prefetch, locks $lock" \
                "${eval:=$digest}" "$digest"
        done
    done
done
[ -n "$train" ] && [ -n "$eval" ] && [ "$train" != "$eval" ]

# Not left out, a broken file is an error in its place that names it.
if message=$(gen strict --batch-size 4 --prefetch 0); then
    echo "a broken file went unnoticed"
    exit 1
fi
case $message in
*"cats/empty.jpg: expected "*) ;;
*)
    echo "expected an error that names cats/empty.jpg, got: $message"
    exit 1
    ;;
esac
