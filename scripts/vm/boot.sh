#!/bin/sh
# Boots an arm64 kernel under emulation with the given archives as its file system, shows its
# console, and ends with what the guest's test ended with; with 1 where the guest said nothing.
#
#   boot.sh CACHE KERNEL SECONDS CONSOLE ARCHIVE...
set -eu

cache=$1 kernel=$2 seconds=$3 console=$4
shift 4

emulator=qemu-system-aarch64
if ! command -v "$emulator" >/dev/null 2>&1; then
    emulator="$cache/emulator/usr/bin/$emulator"
    for folder in usr/lib lib; do
        LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$cache/emulator/$folder/$(uname -m)-linux-gnu"
    done
    export LD_LIBRARY_PATH
fi
cat "$cache/kernel-$kernel/modules.cpio" "$@" >"$console.cpio"

# The oldest 64-bit ARM, so that an instruction of newer ones is noticed; two processors, so that
# races show, but in one thread: two of them cost more than they gain where programs are short. No
# disk and no network: the guest makes its own.
timeout --kill-after=5 "$seconds" "$emulator" -M virt -cpu cortex-a72 -smp 2 -m 256 \
    -accel tcg,thread=single -nodefaults -nographic -serial stdio -no-reboot \
    -kernel "$cache/kernel-$kernel/vmlinuz" -initrd "$console.cpio" \
    -append "console=ttyAMA0 quiet panic=-1" </dev/null 2>&1 | tr -d '\r' | tee "$console"
rm -f "$console.cpio"
status="$(sed -n 's/^guest: the end, status //p' "$console")"
if [ -z "$status" ]; then
    echo "boot.sh: the machine did not come to its end (limit: $seconds s)" >&2
    exit 1
fi
exit "$status"
