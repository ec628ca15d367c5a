#!/bin/sh
# Builds the module to flash: dist/muzzle-vX.Y.Z.zip, its .sha256 and update.json.
#
#   ./scripts/build-module.sh                 for phones: 64-bit Android, by the NDK where
#                                             ANDROID_NDK_HOME is set, else with Rust alone
#   ./scripts/build-module.sh --target musl   with a static program for any 64-bit ARM Linux, less
#                                             optimised, for scripts/test-vm.sh; -musl in its name
#
# MUZZLE_UPDATE_URL  the folder from which the three files will be served: managers then ask
#                    there for newer versions. Without it they do not ask
# MUZZLE_SIGN_KEY    sign with this secret key of minisign; a password is asked for, or read from
#                    standard input where there is no terminal. Makes a .zip.minisig too
# MUZZLE_BINARY      pack this program instead of building one, for tests; -test in its name
# MUZZLE_DIST        write to this folder instead of dist
# SOURCE_DATE_EPOCH  the time of the zip's entries, instead of that of the last commit
#
# The same commit and key give the same bytes.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }

kind=android
case "${1-}${2+ $2}" in
"") ;;
"--target musl") kind=musl ;;
-h | --help)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 64
    ;;
esac
[ -z "${MUZZLE_BINARY-}" ] || kind="test"
for tool in cargo python3 readelf ${MUZZLE_SIGN_KEY:+minisign}; do
    if ! command -v "$tool" >/dev/null; then
        echo "build-module.sh: $tool is missing; scripts/setup.sh installs what is needed" >&2
        exit 1
    fi
done

case "$kind" in
android)
    program="$(./scripts/android/build.sh)"
    suffix=""
    ;;
musl)
    target=aarch64-unknown-linux-musl
    rustup --quiet target add "$target"
    # It would be taken instead of the flags below.
    unset CARGO_ENCODED_RUSTFLAGS
    # The linker that comes with Rust, so that no cross compiler is needed. Not in a
    # .cargo/config.toml: whoever has a linker of their own keeps it.
    RUSTFLAGS="-Clinker=rust-lld -Clink-arg=-zmax-page-size=16384" \
        cargo build --quiet --profile emulated --locked --target "$target"
    program="${CARGO_TARGET_DIR:-target}/$target/emulated/muzzle"
    suffix=-musl
    ;;
test)
    program=$MUZZLE_BINARY
    suffix=-test
    ;;
esac

if [ -z "${SOURCE_DATE_EPOCH-}" ]; then
    # A tree without git (a tarball) has the zip format's earliest time.
    SOURCE_DATE_EPOCH="$(git log -1 --format=%ct 2>/dev/null || echo 0)"
fi
export SOURCE_DATE_EPOCH
dist=${MUZZLE_DIST:-dist}
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
zip="$dist/muzzle-v$version$suffix.zip"
python3 scripts/android/pack.py "$program" "$zip" "${MUZZLE_UPDATE_URL-}"

echo "$zip: $(wc -c <"$zip") bytes, the program in it $(wc -c <"$program")"
sed 's/^/sha256 /' "$zip.sha256"
[ -n "${MUZZLE_SIGN_KEY-}" ] || echo "Without MUZZLE_SIGN_KEY: it is not signed."
if [ -z "${MUZZLE_UPDATE_URL-}" ]; then
    echo "Without MUZZLE_UPDATE_URL: the module does not ask for updates, update.json names no host."
fi
