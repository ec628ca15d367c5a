#!/bin/sh
# Tests Muzzle on a phone's processor and kernels: builds it for 64-bit ARM, boots Debian's arm64
# kernel under emulation with an Android-like tree, and runs the tests of scripts/vm/guest there.
#
#   scripts/test-vm.sh                  kernel 6.1
#   scripts/test-vm.sh --kernel 5.10    another: 5.10, 6.1, 6.12, or all three of them: all
#
# Needs root only to install what is missing. What is downloaded is kept in target/vm, or in
# $MUZZLE_VM_CACHE. Exits with 0 where all was as promised.
set -eu
cd "$(dirname "$0")/.."
PATH="$HOME/.cargo/bin:$PATH"

kernels=6.1
while [ $# -gt 0 ]; do
    case "$1" in
    --kernel)
        kernels="${2-}"
        shift
        ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
        case "$1" in -h | --help) exit 0 ;; *) exit 64 ;; esac
        ;;
    esac
    shift
done
case "$kernels" in
5.10 | 6.1 | 6.12) ;;
all) kernels="6.1 5.10 6.12" ;;
*)
    echo "test-vm.sh: no kernel '$kernels': it is 5.10, 6.1, 6.12 or all" >&2
    exit 64
    ;;
esac

# A machine that works takes about two minutes; one that hangs ends here.
limit=420
cache="${MUZZLE_VM_CACHE:-target/vm}"
target=aarch64-unknown-linux-musl
program="${CARGO_TARGET_DIR:-target}/$target/emulated/muzzle"
started="$(date +%s)"
lap() {
    now="$(date +%s)"
    echo "-- $((now - started)) s: $*"
}

./scripts/setup.sh
mkdir -p "$cache"
cache="$(cd "$cache" && pwd)"
for kernel in $kernels; do
    sh scripts/vm/fetch.sh "$cache" "$kernel"
done
lap "fetched"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
MUZZLE_DIST="$work/dist" ./scripts/build-module.sh --target musl >/dev/null
rustc --edition 2024 -O --target "$target" -Clinker=rust-lld -Cpanic=abort -Cstrip=symbols \
    -Dwarnings -o "$cache/peer" scripts/vm/peer.rs
lap "built"

python3 scripts/vm/older.py "$work"/dist/*.zip "$work/older.zip"
guest=scripts/vm/guest
set -- "$guest/init:init" "$work/older.zip:vm/older.zip" "$(echo "$work"/dist/*.zip):vm/muzzle.zip" \
    "$cache/peer:vm/peer" "$program:vm/muzzle" config/muzzle.toml:vm/muzzle.toml
for file in "$guest"/*.sh "$guest/getprop" tests/module/manager.sh tests/module/install.sh; do
    set -- "$@" "$file:vm/${file##*/}"
done
python3 scripts/vm/initramfs.py files "$work/test.cpio" "$@"

summary="" failed=0
for kernel in $kernels; do
    echo
    echo "== kernel $kernel: $(cat "$cache/kernel-$kernel/version")"
    booted="$(date +%s)"
    status=0
    sh scripts/vm/boot.sh "$cache" "$kernel" "$limit" "$work/console" "$cache/userland.cpio" \
        "$work/test.cpio" || status=$?
    seconds=$(($(date +%s) - booted))
    result=passed
    [ "$status" -eq 0 ] || result=FAILED failed=1
    # grep ends with 1 where it counts none.
    passed="$(grep -c '^PASS ' "$work/console" || true)"
    broken="$(grep -c '^FAIL ' "$work/console" || true)"
    summary="$summary
kernel $kernel: $result, $passed checks passed, $broken failed, $seconds s"
done
echo "$summary"
lap "done"
exit "$failed"
