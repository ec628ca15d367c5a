#!/bin/sh
# What the installers of Magisk, KernelSU and APatch do with a module, as they document it:
# manager.sh ZIP, with the variables of the manager and the phone in the environment.
ZIPFILE=$1
MODPATH=/data/adb/modules_update/muzzle
TMPDIR=/dev/tmp
export ZIPFILE MODPATH TMPDIR

ui_print() { echo "$1"; }
abort() {
    ui_print "$1"
    rm -rf "$MODPATH" "$TMPDIR"
    exit 1
}
set_perm() {
    chown "$2:$3" "$1" && chmod "$4" "$1"
}
set_perm_recursive() {
    find "$1" -type d | while read -r it; do set_perm "$it" "$2" "$3" "$4"; done
    find "$1" -type f | while read -r it; do set_perm "$it" "$2" "$3" "$5"; done
}

rm -rf "$MODPATH" "$TMPDIR"
mkdir -p "$MODPATH" "$TMPDIR"
unzip -o "$ZIPFILE" -x 'META-INF/*' -d "$MODPATH" >/dev/null || abort "! cannot unpack"
set_perm_recursive "$MODPATH" 0 0 0755 0644
# shellcheck disable=SC1091 # the module's
. "$MODPATH/customize.sh"
rm -rf "$MODPATH/customize.sh" "$TMPDIR"
ui_print "- Done"
