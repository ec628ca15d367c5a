#!/bin/sh
# Tests that the same commit and key give the same bytes: clones what is committed into two folders,
# builds and signs the module in each from nothing, and compares all that comes out.
# Takes two release builds, some minutes each.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

minisign -G -W -p "$work/key.pub" -s "$work/key" >/dev/null
[ -z "$(git status --porcelain)" ] ||
    echo "test-reproducible.sh: what is not committed is left out" >&2
# Names of different lengths, and a blank.
one="$work/a" two="$work/another folder/further down/muzzle"
git clone --quiet . "$one"
git clone --quiet "$one" "$two"
for folder in "$one" "$two"; do
    echo "-- in $folder"
    # Neither a target folder nor a dist folder of somebody else.
    env -u CARGO_TARGET_DIR -u MUZZLE_DIST ANDROID_NDK_HOME="" MUZZLE_SIGN_KEY="$work/key" \
        MUZZLE_UPDATE_URL=https://example.org/muzzle "$folder/scripts/build-module.sh"
    rm -rf "$folder/target"
done
if ! diff -r "$one/dist" "$two/dist"; then
    echo "test-reproducible.sh: two builds of the same commit differ" >&2
    exit 1
fi
(cd "$one/dist" && wc -c -- *)
echo "Both builds gave the same bytes."
