#!/bin/sh
# Tests the module on a made-up phone: a root folder with BusyBox, /data and /system/bin, in its own
# mount, network and process namespaces. The managers' part is tests/module/manager.sh, which
# scripts/test-vm.sh has too; the cases are tests/module/cases.sh. Needs root. test-module.sh [PROGRAM]: target/debug/muzzle otherwise.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"

if [ "$(id -u)" -ne 0 ]; then
    echo "test-module.sh: needs root, for namespaces" >&2
    exit 1
fi
program=${1:-target/debug/muzzle}
[ -n "${1-}" ] || cargo build --quiet
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# The phone's root, world-readable as a root is.
chmod 755 "$work"

# --- the zips -------------------------------------------------------------------------------------

strip -o "$work/muzzle" "$program"
# pack FOLDER PROGRAM
pack() { MUZZLE_BINARY="$2" MUZZLE_DIST="$work/$1" ./scripts/build-module.sh >/dev/null; }
pack dist "$work/muzzle"
# What does not depend on the program, with a small one.
pack once /bin/true
pack again /bin/true
MUZZLE_UPDATE_URL=https://example.org/muzzle pack served /bin/true

# Signed by stock minisign, with keys that are gone with the test.
for maker in first other; do
    minisign -G -W -p "$work/$maker.pub" -s "$work/$maker.key" >/dev/null
done
MUZZLE_SIGN_KEY="$work/first.key" pack signed "$work/muzzle"
MUZZLE_SIGN_KEY="$work/other.key" pack other "$work/muzzle"
MUZZLE_SIGN_KEY="$work/first.key" pack signed-again "$work/muzzle"
# A key with a password.
printf 'secret\nsecret\n' |
    minisign -G -p "$work/locked.pub" -s "$work/locked.key" >/dev/null 2>&1
echo secret | MUZZLE_SIGN_KEY="$work/locked.key" pack locked /bin/true
mkdir "$work/zips"
PYTHONDONTWRITEBYTECODE=1 python3 tests/module/zips.py "$work"

# --- the phone ------------------------------------------------------------------------------------

phone="$work/phone"
mkdir -p "$phone/bb" "$phone/system/bin" "$phone/data" "$phone/dev" "$phone/proc" "$phone/run" \
    "$phone/usr" "$phone/etc" "$phone/lacking" "$phone/tests" "$phone/zips"
for folder in bin sbin lib lib64 lib32; do
    [ ! -e "/$folder" ] || ln -s "usr/$folder" "$phone/$folder"
done
touch "$phone/dev/null"
for program in iptables ip6tables; do
    ln -s "/usr/sbin/$program-legacy" "$phone/system/bin/$program"
    # An iptables whose kernel has no NFQUEUE.
    for suffix in "" -restore; do
        cat >"$phone/lacking/$program-legacy$suffix" <<END
#!/bin/sh
input=\$(cat)
case "\$* \$input" in *NFQUEUE*)
    echo "No chain/target/match by that name." >&2
    exit 1 ;;
esac
printf '%s\n' "\$input" | /usr/sbin/$program-legacy$suffix "\$@"
END
    done
done
chmod 755 "$phone/lacking/"*
ln -s /usr/bin/busybox "$phone/system/bin/sh"
for applet in $(busybox --list); do
    ln -s /usr/bin/busybox "$phone/bb/$applet"
done

# Only the namespaces know these mounts; they go with them.
# shellcheck disable=SC2016 # expands in the shell that runs it
unshare --mount --net --pid --fork sh -eu -c '
    phone=$1
    mount --rbind /usr "$phone/usr"
    mount --bind /dev/null "$phone/dev/null"
    mount --bind tests/module "$phone/tests"
    mount --bind "$2" "$phone/zips"
    mount -t proc proc "$phone/proc"
    exec chroot "$phone" /bb/env -i PATH=/bb:/system/bin:/usr/sbin /bb/ash /tests/cases.sh
' sh "$phone" "$work/zips"
