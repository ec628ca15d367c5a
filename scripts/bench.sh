#!/bin/sh
# Measures Muzzle on this machine, beside a program that accepts every queued packet. Needs root,
# for the namespaces. Ratios hold from machine to machine, absolute figures do not.
set -eu
cd "$(dirname "$0")/.."
PATH="$HOME/.cargo/bin:$PATH"

if [ "$(id -u)" -ne 0 ]; then
    echo "bench.sh: needs root, for network namespaces" >&2
    exit 1
fi
./scripts/setup.sh
cargo build --release --quiet
cargo bench --quiet --bench inspect
cargo bench --quiet --bench dns_queue -- "${1:-9}" "${2:-2}"

echo
echo "muzzle check, from a cold start, ms (median of 21; under 20 is the aim):"
python3 - target/release/muzzle <<'EOF'
import statistics, subprocess, sys, time

def once():
    start = time.monotonic()
    subprocess.run([sys.argv[1], "check", "sa.api.intl.miui.com"], check=True, stdout=subprocess.DEVNULL)
    return (time.monotonic() - start) * 1000

print(f"  {statistics.median(once() for _ in range(21)):.1f}")
EOF

echo
echo "the daemon's memory with the shipped config and catalogue, kB (under 8192 is the aim):"
folder=$(mktemp -d)
namespace="mzbench$$"
ip netns add "$namespace"
daemon=""
cleanup() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" || true
    ip netns del "$namespace"
    rm -r "$folder"
}
trap cleanup EXIT
sed "s|^socket = \"\"|socket = \"$folder/control.sock\"|" config/muzzle.toml >"$folder/muzzle.toml"
ip netns exec "$namespace" target/release/muzzle --config "$folder/muzzle.toml" daemon 2>/dev/null &
daemon=$!
tries=0
until [ -S "$folder/control.sock" ] || [ "$tries" -ge 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
for process in "$daemon" $(cat "/proc/$daemon/task/$daemon/children"); do
    tr "\0" " " <"/proc/$process/cmdline" | sed "s|.*/||"
    echo
    grep -E "^(VmRSS|RssAnon|RssFile)" "/proc/$process/status"
done
