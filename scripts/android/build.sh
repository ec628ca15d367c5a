#!/bin/sh
# Builds the program for 64-bit Android (API level 26) and checks it. Prints its path.
#
# With ANDROID_NDK_HOME set: by `cargo ndk` and that NDK. Without: by rustc and its own rust-lld
# against stubs of Android's four libraries, made here from symbols.txt; nothing else is needed.
# The same sources, lock file and toolchain give the same bytes, wherever they lie.
set -eu
cd "$(dirname "$0")/../.."
PATH="$PATH:$HOME/.cargo/bin"
target=aarch64-linux-android
link=target/android-link # relative, so that the folder's name does not get into the program

if ! rustc --print target-libdir --target "$target" | xargs test -d; then
    if ! command -v rustup >/dev/null; then
        echo "build.sh: this Rust has no $target; install it, by rustup for instance" >&2
        exit 1
    fi
    rustup target add "$target" >&2
fi

# Flags are separated by this, so that folders may have blanks in their names.
separator="$(printf '\037')"
crates="${CARGO_HOME:-$HOME/.cargo}/registry/src"
CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$PWD=/muzzle$separator"
CARGO_ENCODED_RUSTFLAGS="$CARGO_ENCODED_RUSTFLAGS--remap-path-prefix=$crates=/crates"
# See no-unwind.ld.
CARGO_ENCODED_RUSTFLAGS="$CARGO_ENCODED_RUSTFLAGS$separator-Cforce-unwind-tables=no"
export CARGO_ENCODED_RUSTFLAGS

# compile SOURCE OBJECT
compile() {
    rustc --edition 2024 --target "$target" --crate-type lib --emit obj -o "$2" "$1"
}

# make_stub LIBRARY: lib*.so with the names of symbols.txt and nothing behind them.
make_stub() {
    {
        echo '#![no_std]'
        echo 'core::arch::global_asm!(r#"'
        awk -v library="$1" '
            $1 != library { next }
            { type = $3 == "data" ? "object" : "function"
              print ".globl " $2 "\n.type " $2 ", %" type "\n.size " $2 ", " ($4 ? $4 : 8)
              print ($3 == "data" ? ".data" : ".text") "\n.balign 8"
              print $2 ":\n.zero " ($4 ? $4 : 8) }
        ' scripts/android/symbols.txt
        echo '"#);'
    } >"$link/$1.rs"
    compile "$link/$1.rs" "$link/$1.o"
    "$lld" -flavor gnu -m aarch64linux -shared -soname "$1.so" -o "$link/$1.so" "$link/$1.o"
}

if [ -n "${ANDROID_NDK_HOME-}" ]; then
    if ! cargo ndk --version >/dev/null 2>&1; then
        echo "build.sh: ANDROID_NDK_HOME is set, but cargo-ndk is missing:" >&2
        echo "build.sh: cargo install cargo-ndk" >&2
        exit 1
    fi
    cargo ndk -t arm64-v8a -P 26 rustc --release --locked --bin muzzle -- \
        -C link-arg=-Wl,-z,max-page-size=16384,--pack-dyn-relocs=android,--icf=all \
        -C link-arg=-Wl,--no-eh-frame-hdr,-T,scripts/android/no-unwind.ld >&2
else
    lld="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld"
    rm -rf "$link"
    mkdir -p "$link"
    compile scripts/android/start.rs "$link/start.o"
    for library in libc libm libdl liblog; do
        make_stub "$library"
    done
    # start.o has what Rust's std wants of libunwind; an empty linker script stands for the file.
    echo '/* see scripts/android/start.rs */' >"$link/libunwind.a"
    # Packed relocations, which Android knows from API level 23 on, save 65 kB; equal functions
    # folded into one 45 kB.
    cargo rustc --release --locked --quiet --target "$target" --bin muzzle -- \
        -C linker=rust-lld -C linker-flavor=ld.lld -C link-arg="$link/start.o" -L "$link" \
        -C link-arg=-dynamic-linker=/system/bin/linker64 -C link-arg=-zmax-page-size=16384 \
        -C link-arg=--hash-style=both -C link-arg=--pack-dyn-relocs=android \
        -C link-arg=--icf=all -C link-arg=--no-eh-frame-hdr \
        -C link-arg=-Tscripts/android/no-unwind.ld \
        -C link-arg=--build-id=sha1 -C link-arg=--error-limit=0 >&2
fi

program="${CARGO_TARGET_DIR:-target}/$target/release/muzzle"
./scripts/android/check.sh "$program"
echo "$program"
