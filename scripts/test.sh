#!/bin/sh
# The test command: everything, from nothing. Needs root, for the namespace tests and, on a fresh
# machine, to install what is missing. docs/testing.md says what runs where and how long it takes.
#
#   sudo ./scripts/test.sh          with one arm64 kernel, 6.1
#   sudo ./scripts/test.sh --all    with all three: 5.10, 6.1, 6.12; every fault, measured; and two
#                                   more builds of the module, compared byte by byte
set -eu
cd "$(dirname "$0")/.."
PATH="$HOME/.cargo/bin:$PATH"

case "${1-}" in
"") kernels=6.1 ;;
--all) kernels=all ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    case "$1" in -h | --help) exit 0 ;; *) exit 64 ;; esac
    ;;
esac

step() { printf '\n== %s\n' "$*"; }

if [ "$(id -u)" -ne 0 ]; then
    echo "test.sh: the namespace tests need root; run it with sudo" >&2
    exit 1
fi

step "what is needed"
./scripts/setup.sh --tests
# rust-toolchain.toml names the toolchain and its targets; rustup installs both where missing.
rustup show active-toolchain
rustup target add aarch64-linux-android

step "format"
cargo fmt --check
rustfmt --edition 2024 --check scripts/vm/peer.rs

step "clippy, host"
cargo clippy --quiet --all-targets --all-features -- -D warnings

step "clippy, Android"
cargo clippy --quiet --target aarch64-linux-android -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps

step "the Android tree is pure Rust"
if cargo tree --quiet --target aarch64-linux-android --edges normal,build --prefix none |
    grep -E '^(cc|bindgen|ring|aws-lc-sys|openssl-sys|libsqlite3-sys) '; then
    echo "test.sh: the crate above needs a C compiler for the target" >&2
    exit 1
fi

step "shell scripts"
shellcheck scripts/*.sh scripts/android/*.sh scripts/vm/*.sh tests/data/decode/*.sh .ci/run
# BusyBox ash, which is what runs these, is closest to dash.
shellcheck --shell=dash magisk-module/*.sh magisk-module/META-INF/com/google/android/update-binary \
    tests/module/*.sh scripts/vm/guest/getprop
shellcheck --external-sources --check-sourced scripts/vm/guest/init scripts/vm/guest/test.sh

step "tests"
cargo test --quiet

step "fuzzing, some seconds a target"
./scripts/fuzz.sh 4

step "namespace tests: real packets through real queues"
# They mostly wait, so more of them than there are cores.
cargo test --quiet --features network-tests --test network -- --test-threads=4

step "the module, on a made-up phone"
./scripts/test-module.sh

step "the module for phones, linked without an NDK"
ANDROID_NDK_HOME="" MUZZLE_DIST=target/dist ./scripts/build-module.sh

if [ "$kernels" = all ]; then
    step "the module, built in two folders"
    ./scripts/test-reproducible.sh
fi

step "on arm64 kernels, with the module under each root manager"
./scripts/test-vm.sh --kernel "$kernels"

if [ "$kernels" = all ]; then
    step "every fault: measured against the second that is allowed, and a minute of idleness"
    cargo bench --quiet --bench faults
    MUZZLE_POWER_LOSSES=100 cargo test --quiet --features network-tests --test network -- power_loss
fi
