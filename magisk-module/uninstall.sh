#!/system/bin/sh
# Takes away all that outlives the module's folder. The managers run it at the start of the phone
# after the module was removed: there is then no daemon and no chain, but it does not rely on that.
MODDIR=${0%/*}
program="$MODDIR/bin/muzzle"
data=/data/adb/muzzle

# A running daemon removes its chains on its way out. It answers only once it is ready; its lock
# names it from the beginning.
set --
[ ! -e "$data/muzzle.toml" ] || set -- --config "$data/muzzle.toml"
is_daemon() {
    [ -n "$1" ] && tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q 'muzzle .*daemon '
}
daemon="$(timeout 2 "$program" "$@" status --json 2>/dev/null | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p')"
[ -n "$daemon" ] || read -r daemon 2>/dev/null <"$data/control.sock.lock"
if is_daemon "$daemon"; then
    kill -TERM "$daemon"
    tries=0
    while kill -0 "$daemon" 2>/dev/null && [ "$tries" -lt 70 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
fi

# remove_chains IPTABLES TABLE: the jumps, then the chains, of Muzzle only.
remove_chains() {
    rules="$("$1" -w 5 -t "$2" -S 2>/dev/null | grep muzzle_)" || return 0
    echo "$rules" | sed -n 's/^-A \(.* -[jg] muzzle_.*\)/\1/p' | while read -r rule; do
        # shellcheck disable=SC2086 # the words of a rule
        "$1" -w 5 -t "$2" -D $rule
    done
    chains="$(echo "$rules" | sed -n 's/^-N \(muzzle_.*\)/\1/p')"
    for chain in $chains; do "$1" -w 5 -t "$2" -F "$chain"; done
    for chain in $chains; do "$1" -w 5 -t "$2" -X "$chain"; done
}
for iptables in /system/bin/iptables /system/bin/ip6tables; do
    [ -x "$iptables" ] || continue
    remove_chains "$iptables" raw
    remove_chains "$iptables" mangle
done

for commands in /data/adb/ksu/bin /data/adb/ap/bin "$(magisk --path 2>/dev/null)"; do
    [ ! -L "$commands/muzzle" ] || rm -f "$commands/muzzle"
done
rm -rf "$data"
