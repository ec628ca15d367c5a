#!/bin/sh
# Installs what building and testing Muzzle needs on Debian or Ubuntu. Run as root; does nothing
# where everything is there.
#
#   ./scripts/setup.sh            what the demo, the benchmarks and the build need too
#   ./scripts/setup.sh --tests    and aioquic, for the namespace tests
set -eu
cd "$(dirname "$0")/.."

missing=""
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need iptables-legacy iptables
need ip iproute2
need dnsmasq dnsmasq-base
need dig bind9-dnsutils
need curl curl
need openssl openssl
need conntrack conntrack
need tcpdump tcpdump
need setpriv util-linux
# A resolver of another kind than glibc's, as Alpine has it; Android's own is a third.
need musl-gcc musl-tools
need shellcheck shellcheck
# The shell of Magisk, KernelSU and APatch.
need busybox busybox
# python3-minimal lacks json, which the demo needs.
python3 -c 'import gzip, json, ssl' 2>/dev/null || missing="$missing python3"
# aioquic is installed in a folder of its own.
[ "${1-}" != --tests ] || python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
# rustc calls the linker through it.
need cc gcc
[ "${1-}" != --tests ] || need g++ g++ # of libFuzzer
need readelf binutils
# What signs releases, and what anyone may check them with.
need minisign minisign
# curl above needs certificates to fetch rustup.
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"

# The arm64 kernels are Debian's; Ubuntu has its keys as a package.
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup.sh: missing:$missing; install them with your package manager" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "setup.sh: missing:$missing; run this as root to install them" >&2
        exit 1
    fi
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

if [ "${1-}" = --tests ] && ! target/aioquic/bin/python -c 'import aioquic' 2>/dev/null; then
    python3 -m venv --clear target/aioquic
    target/aioquic/bin/pip install --quiet --disable-pip-version-check aioquic==1.7.2
fi

if ! command -v cargo >/dev/null 2>&1; then
    if [ ! -x "$HOME/.cargo/bin/cargo" ]; then
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --profile minimal --default-toolchain none
    fi
fi
