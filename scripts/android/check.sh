#!/bin/sh
# Checks that a program is what Android can run: check.sh PROGRAM
set -eu
program=$1
list="$(dirname "$0")/symbols.txt"
bad=0
# expect WHAT WANTED FOUND
expect() {
    [ "$2" = "$3" ] && return
    echo "check.sh: $program: $1 is \"$3\", must be \"$2\"" >&2
    bad=1
}
read_elf() { LC_ALL=C readelf -W "$@" "$program"; }

expect "machine" AArch64 "$(read_elf -h | sed -n 's/^ *Machine: *//p')"
expect "type" DYN "$(read_elf -h | sed -n 's/^ *Type: *\([A-Z]*\).*/\1/p')"
expect "interpreter" /system/bin/linker64 \
    "$(read_elf -l | sed -n 's/.*program interpreter: \(.*\)\]/\1/p')"
# libm is left out by the linker while nothing uses it.
expect "libraries" "libc.so libdl.so liblog.so" \
    "$(read_elf -d | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^libm.so$' | sort | xargs)"
expect "immediate binding (BIND_NOW or NOW)" yes \
    "$(read_elf -d | grep -q 'NOW' && echo yes)"
expect "relocations in code (TEXTREL)" "" "$(read_elf -d | grep TEXTREL || true)"
expect "thread-local segment" "" "$(read_elf -l | awk '$1 == "TLS"')"
expect "segments for pages under 16 KiB" "" \
    "$(read_elf -l | awk '$1 == "LOAD" { print $NF }' | grep -vE '^0x([4-9a-f]|[1-9a-f]+[0-9a-f])000$' || true)"

# Weak names may be absent: the program asks at run time.
unknown="$(read_elf --dyn-syms | awk '$7 == "UND" && $5 == "GLOBAL" { sub("@.*", "", $8); print $8 }' |
    sort -u | awk 'NR == FNR { if ($1 !~ /^#/) known[$2] = 1; next } !($1 in known)' "$list" - | xargs)"
expect "names that are not in $list" "" "$unknown"

# Without a start object the linker throws everything away and calls that a success.
size="$(wc -c <"$program")"
# Without history, reports and decoding it was 2.8 million bytes, with them 3.75.
limit=4194304
if [ "$size" -lt 500000 ]; then
    echo "check.sh: $program: $size bytes is no whole program" >&2
    bad=1
elif [ "$size" -gt "$limit" ]; then
    echo "check.sh: $program: $size bytes is over the limit of $limit" >&2
    bad=1
fi
exit "$bad"
