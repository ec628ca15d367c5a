#!/system/bin/sh
# The action button: how Muzzle is, and what it did last. Some managers end this after 10 seconds.
MODDIR=${0%/*}
program="$MODDIR/bin/muzzle"
data=/data/adb/muzzle

set --
[ ! -e "$data/muzzle.toml" ] || set -- --config "$data/muzzle.toml"

if timeout 2 "$program" "$@" status 2>&1; then
    echo
    echo "Last decisions (more: muzzle log --follow, in a root shell):"
    timeout 2 "$program" "$@" log --recent 15 2>&1
else
    echo
    if [ -e "$MODDIR/disable" ]; then
        echo "The module is disabled."
    else
        echo "Muzzle is not running, so nothing is refused. Restart the phone to start it."
    fi
    if [ -s "$data/log/daemon.log" ]; then
        echo "Its last words ($data/log/daemon.log):"
        tail -n 15 "$data/log/daemon.log"
    fi
fi

# These close the window when the script ends.
if [ "${KSU-}" = true ] || [ "${APATCH-}" = true ]; then
    sleep 4
fi
