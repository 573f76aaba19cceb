#!/bin/sh
# Builds the gRPC peer and fills a virtual environment with the others, all in build/peers. What
# cannot be had is said, and left out of the measurements.
set -eu
cd "$(dirname "$0")/../../.."
peers=build/peers
source=tests/bench/peers
mkdir -p "$peers"

newer=$(find "$source" -name '*.cc' -newer "$peers/grpc_peer" 2>/dev/null || echo all)
if [ -n "$newer" ]; then
    echo "building the gRPC peer" >&2
    protoc --proto_path="$source" --cpp_out="$peers" --grpc_out="$peers" \
        --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" batches.proto
    # shellcheck disable=SC2046 # lists of words
    c++ -std=c++17 -O2 -I "$peers" $(pkg-config --cflags grpc++ protobuf) \
        "$source/grpc_peer.cc" "$peers/batches.pb.cc" "$peers/batches.grpc.pb.cc" \
        $(pkg-config --libs grpc++ protobuf) -o "$peers/grpc_peer"
fi

[ -x "$peers/bin/pip" ] || python3 -m venv "$peers"
for package in pyarrow tensorflow-cpu batchflow; do
    "$peers/bin/pip" show --quiet "$package" 2>/dev/null && continue
    echo "installing $package in $peers" >&2
    "$peers/bin/pip" install --quiet "$package" >&2 || echo "$package cannot be installed" >&2
done

# The tables need Debian's torch, and so what goes with its NumPy: pandas 2 and pyarrow 21.
if [ ! -x "$peers/table/bin/pip" ]; then
    /usr/bin/python3 -m venv --system-site-packages "$peers/table"
fi
for package in 'pandas<3' 'pyarrow<22'; do
    "$peers/table/bin/pip" show --quiet "${package%<*}" 2>/dev/null && continue
    echo "installing $package in $peers/table" >&2
    "$peers/table/bin/pip" install --quiet "$package" >&2 || echo "$package cannot be installed" >&2
done
