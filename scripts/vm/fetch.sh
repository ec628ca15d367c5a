#!/bin/sh
# Fetches what the arm64 machine is made of into a folder: a Debian kernel, a static busybox and
# Debian's iptables, and an emulator where the host has none. Nothing is installed on the host, and
# its package lists stay as they are. What is there already is not fetched again.
#
#   fetch.sh CACHE KERNEL     KERNEL is 6.1, 5.10 or 6.12
set -eu

cache=$1 kernel=$2
mirror="${MUZZLE_VM_MIRROR:-http://deb.debian.org}"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
case "$kernel" in
5.10) suite=bullseye ;;
6.1) suite=bookworm ;;
6.12) suite=trixie ;;
*)
    echo "fetch.sh: no kernel $kernel: it is 6.1, 5.10 or 6.12" >&2
    exit 64
    ;;
esac
mkdir -p "$cache"
cache="$(cd "$cache" && pwd)"
here="$(cd "$(dirname "$0")" && pwd)"

# An apt of our own for another architecture, and perhaps another Debian, than the host's.
apt_of() { # SUITE
    apt="$cache/apt-$1"
    APT_CONFIG="$apt/apt.conf"
    export APT_CONFIG
    [ ! -e "$apt/fresh" ] || return 0
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/none"
    : >"$apt/status"
    {
        # Proxies and the like.
        env -u APT_CONFIG apt-config dump | grep '^Acquire::' || true
        cat <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/none";
Dir::Etc::parts "$apt/none";
Dir::Etc::preferencesparts "$apt/none";
END
    } >"$apt/apt.conf"
    cat >"$apt/sources.list" <<END
deb [signed-by=$keyring] $mirror/debian $1 main
deb [signed-by=$keyring] $mirror/debian-security $1-security main
END
    apt-get -qq update
    touch "$apt/fresh"
}

# Lists are only needed while something is fetched; they are large, and grow old.
clean_up() { rm -rf "$cache"/apt-* "$cache/new"; }
trap clean_up EXIT
clean_up

if ! command -v qemu-system-aarch64 >/dev/null 2>&1 && [ ! -e "$cache/emulator/complete" ]; then
    echo "fetching an emulator"
    rm -rf "$cache/emulator"
    mkdir -p "$cache/emulator" "$cache/new/partial"
    # Unpacked, not installed: apt may want to remove other packages for it.
    fetch_emulator() {
        apt-get -qq -y --download-only --no-install-recommends -o "Dir::Cache::archives=$cache/new" \
            install qemu-system-arm >/dev/null
    }
    fetch_emulator 2>/dev/null || {
        apt-get -qq update
        fetch_emulator
    }
    for package in "$cache"/new/*.deb; do
        dpkg-deb -x "$package" "$cache/emulator"
    done
    touch "$cache/emulator/complete"
    rm -rf "$cache/new"
fi

if [ ! -e "$cache/userland.cpio" ]; then
    echo "fetching busybox and iptables for arm64"
    apt_of bookworm
    mkdir -p "$cache/new/tree"
    (
        cd "$cache/new"
        apt-get -qq download busybox-static iptables libc6 libxtables12 libip4tc2 libip6tc2
    )
    for package in "$cache"/new/*.deb; do
        dpkg-deb -x "$package" "$cache/new/tree"
    done
    python3 "$here/initramfs.py" userland "$cache/new/tree" "$cache/new/userland.cpio"
    mv "$cache/new/userland.cpio" "$cache/userland.cpio"
    rm -rf "$cache/new"
fi

# The newest of the series that the mirror really has: it lists some that are gone.
fetch_kernel() {
    pattern="^linux-image-$(echo "$kernel" | sed 's/\./\\./')\\.[0-9].*-cloud-arm64\$"
    for name in $(apt-cache search --names-only "$pattern" | cut -d ' ' -f 1 | sort -rV); do
        for version in $(apt-cache madison "$name" | awk '{ print $3 }'); do
            if (cd "$cache/new" && apt-get -qq download "$name=$version" 2>/dev/null); then
                return 0
            fi
        done
    done
    echo "fetch.sh: the mirror has no kernel $kernel for arm64" >&2
    return 1
}

folder="$cache/kernel-$kernel"
if [ ! -e "$folder/complete" ]; then
    echo "fetching kernel $kernel for arm64"
    apt_of "$suite"
    rm -rf "$folder"
    mkdir -p "$folder" "$cache/new/tree"
    fetch_kernel
    for package in "$cache"/new/*.deb; do
        dpkg-deb -x "$package" "$cache/new/tree"
        basename "$package" >"$folder/version"
    done
    mv "$cache"/new/tree/boot/vmlinuz-* "$folder/vmlinuz"
    python3 "$here/initramfs.py" modules "$cache/new/tree" "$folder/modules.cpio"
    touch "$folder/complete"
fi
