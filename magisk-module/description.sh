#!/system/bin/sh
# description.sh STATE TEXT: shows "STATE: TEXT" before the module's description in the manager's
# list. Called when the state changes, not on a timer. KernelSU and APatch keep it apart from the
# module; elsewhere module.prop is replaced whole, so that nobody ever reads half of it.
MODDIR=${0%/*}
prop="$MODDIR/module.prop"
if [ "$#" -ne 2 ]; then
    echo "usage: description.sh STATE TEXT" >&2
    exit 64
fi

now="$(sed -n 's/^description=//p' "$prop")"
own="${now##* | }"
description="$(printf '%s: %s' "$1" "$2" | tr '[:cntrl:]|' '  ') | $own"

# Whose description it is: KernelSU reads the one, APatch the other.
KSU_MODULE="$(sed -n 's/^id=//p' "$prop")"
AP_MODULE=$KSU_MODULE
export KSU_MODULE AP_MODULE
for manager in "${KSU:+/data/adb/ksud}" "${APATCH:+/data/adb/apd}"; do
    # --temp: until the next start of the phone.
    if [ -n "$manager" ] && [ -x "$manager" ] &&
        "$manager" module config set --temp override.description "$description" >/dev/null 2>&1; then
        exit 0
    fi
done

[ "$now" != "$description" ] || exit 0
# awk would read backslashes in -v; the environment is taken as it is.
description="$description" awk '
    /^description=/ { print "description=" ENVIRON["description"]; next }
    { print }
' "$prop" >"$prop.new" && chmod 644 "$prop.new" && mv -f "$prop.new" "$prop"
