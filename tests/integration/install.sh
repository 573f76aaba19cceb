#!/bin/sh
# install.sh -- what is installed can be used: the program starts, and a stranger's project finds
# the library by find_package and by pkg-config, and nothing but the public names in it.
set -eu
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT

cmake --install "$BATCHMILL_BUILD_DIR" --prefix "$prefix/usr" >"$prefix/log"
# A moved tree still works: nothing may point back to where it was installed or built.
mv "$prefix/usr" "$prefix/moved"
root=$prefix/moved
libdir=$(dirname "$(find "$root" -name libbatchmill.so)")
export LD_LIBRARY_PATH="$libdir"
version=$(sed -n 's/^project(batchmill VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)

expect() { # expect NAME EXPECTED GOT
    if [ "$2" != "$3" ]; then
        echo "$1: expected '$2', got '$3'"
        exit 1
    fi
}

mkdir "$prefix/consumer"
cd "$prefix/consumer"
cat >main.c <<'END'
#include <batchmill/client.h>
#include <stdio.h>
int main(void)
{
    puts(batchmill_version());
    return 0;
}
END
cat >CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(batchmill $version REQUIRED)
add_executable(by_cmake main.c)
target_link_libraries(by_cmake batchmill::batchmill)
END
if ! { cmake -G Ninja -S . -B build -DCMAKE_PREFIX_PATH="$root" && cmake --build build; } \
    >"$prefix/log" 2>&1; then
    cat "$prefix/log"
    exit 1
fi
expect "find_package" "$version" "$(build/by_cmake)"

export PKG_CONFIG_PATH="$libdir/pkgconfig"
expect "pkg-config --modversion" "$version" "$(pkg-config --modversion batchmill)"
# shellcheck disable=SC2046 # a list of options
cc main.c -o by_pkg_config $(pkg-config --cflags --libs batchmill)
expect "pkg-config" "$version" "$(./by_pkg_config)"

# A plug-in needs the installed header alone.
mkdir plugin
cc -shared -fPIC -O2 -I"$root/include" "$BATCHMILL_SOURCE_DIR/examples/plugin/c/example.c" \
    -o plugin/example.so
chmod -R go-w plugin
"$root/bin/batchmill" plugin check plugin/example.so >"$prefix/log" ||
    { cat "$prefix/log"; exit 1; }

strangers=$(nm -D --defined-only "$libdir/libbatchmill.so" | awk '$3 !~ /^batchmill_/ {print $3}')
expect "exported names beside batchmill_*" "" "$strangers"

"$root/bin/batchmill" version >"$prefix/log"
grep -qF "$version" "$prefix/log" || expect "batchmill version" "$version" "$(cat "$prefix/log")"
echo "installed, found and used"
