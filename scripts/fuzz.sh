#!/bin/sh
# Fuzzes what reads foreign bytes, with libFuzzer: every target of fuzz/ for some seconds, from what
# real clients sent. Needs no nightly toolchain and no root.
#
#   ./scripts/fuzz.sh               60 seconds a target
#   ./scripts/fuzz.sh 5             5 seconds a target, as scripts/test.sh does
#   ./scripts/fuzz.sh 600 quic      ten minutes of one target
#
# What was found on the way stays in target/fuzz/corpus, and is where the next run begins. A crash
# ends it; the bytes are then in target/fuzz/crashes, to become a test with a name.
set -eu
cd "$(dirname "$0")/.."
PATH="$HOME/.cargo/bin:$PATH"
seconds=${1-60}
case "$seconds" in
"" | *[!0-9]*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    case "$seconds" in -h | --help) exit 0 ;; *) exit 64 ;; esac
    ;;
esac
host="$(rustc -vV | sed -n 's/^host: //p')"
work=$PWD/target/fuzz

# Coverage as libFuzzer wants it. Memory needs no sanitizer: the parsers have no unsafe code.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$coverage --cfg fuzzing" CARGO_TARGET_DIR="$work" cargo build --quiet --release \
    --manifest-path fuzz/Cargo.toml --target "$host" --bins

# What real clients said, in the form that each target takes.
seeds() { # TARGET
    case "$1" in
    tls_server_name) cp tests/data/openssl3_*.bin tests/data/chrome1*.bin tests/data/firefox*.bin \
        tests/data/node*.bin tests/data/gnutls*.bin tests/data/java*.bin tests/data/go*.bin \
        "$corpus" ;;
    http_request) cp tests/data/curl7_p*.bin "$corpus" ;;
    quic)
        for file in tests/data/aioquic*.bin tests/data/chromium*.bin tests/data/rfc*_initial.bin; do
            { printf '\0' && cat "$file"; } >"$corpus/$(basename "$file")"
        done
        ;;
    decode)
        for file in tests/data/decode/*.form tests/data/decode/*.url tests/data/decode/*.pcap; do
            { printf '\0' && cat "$file"; } >"$corpus/json-$(basename "$file")"
            { printf '\1' && cat "$file"; } >"$corpus/words-$(basename "$file")"
        done
        ;;
    config) cp config/muzzle.toml config/catalogue/crash.toml "$corpus" ;;
    esac
}

targets=${2-$(sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | grep -v '^muzzle')}
for target in $targets; do
    corpus=$work/corpus/$target
    mkdir -p "$corpus" "$work/crashes"
    seeds "$target"
    printf '%s: ' "$target"
    log=$work/$target.log
    if ! "$work/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="$work/crashes/$target-" "$corpus" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "fuzz.sh: $target fails; its input is in $work/crashes" >&2
        exit 1
    fi
    sed -n 's/^Done \(.*\)/\1/p' "$log"
done
