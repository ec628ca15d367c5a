#!/system/bin/sh
# Starts the daemon. Run by the manager at every start of the phone, beside the rest of it: nothing
# is waited for. The daemon watches over itself; it need not be started again from here.
MODDIR=${0%/*}
program="$MODDIR/bin/muzzle"
data=/data/adb/muzzle
log="$data/log/daemon.log"

umask 077
mkdir -p "$data/log"

# The command on root's PATH, as each manager has it. Magisk's folder is new at each start.
if [ "${KSU-}" = true ]; then
    commands=/data/adb/ksu/bin
elif [ "${APATCH-}" = true ]; then
    commands=/data/adb/ap/bin
else
    commands="$(magisk --path 2>/dev/null)"
fi
[ ! -d "$commands" ] || ln -sf "$program" "$commands/muzzle"

# The program without a config has the same defaults.
set --
[ ! -e "$data/muzzle.toml" ] || set -- --config "$data/muzzle.toml"

if ! said="$("$program" --version 2>&1)"; then
    echo "$said" >>"$log"
    sh "$MODDIR/description.sh" failed "the program does not run on this phone: see $log"
else
    # What stood there at the last shutdown is not so any more.
    sh "$MODDIR/description.sh" started "the action button says how it is"
    # The log keeps itself short; what the program itself says before it is set up goes beside it,
    # unless the disk is full.
    start_log="$data/log/start.log"
    true 2>/dev/null >"$start_log" || start_log=/dev/null
    "$program" "$@" daemon --service --module "$MODDIR" --log-file "$log" \
        </dev/null >"$start_log" 2>&1 &
fi
