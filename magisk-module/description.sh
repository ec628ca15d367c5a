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
# What is not whole, because the disk is full for one, must not become module.prop: awk may not say.
is_whole() {
    [ "$(grep -v '^description=' "$prop.new")" = "$(grep -v '^description=' "$prop")" ] &&
        grep -qxF "description=$description" "$prop.new"
}
# awk would read backslashes in -v; the environment is taken as it is.
description="$description" awk '
    /^description=/ { print "description=" ENVIRON["description"]; next }
    { print }
' "$prop" >"$prop.new" 2>/dev/null
# On the disk before it takes the old one's place, whenever the power goes.
if is_whole && chmod 644 "$prop.new" && sync "$prop.new"; then
    mv -f "$prop.new" "$prop"
else
    rm -f "$prop.new"
    echo "description.sh: $prop cannot be written" >&2
    exit 1
fi
