# The installer of a root manager, with the functions and steps that modules rely on.
# shellcheck shell=dash
ui_print() { echo "  $1"; }
abort() {
    ui_print "$1"
    rm -rf "${MODPATH-}" "$TMPDIR"
    exit 1
}
grep_prop() { sed -n "s/^$1=//p" "$2" | head -n 1; }
set_perm() { # PATH OWNER GROUP MODE
    chown "$2:$3" "$1" && chmod "$4" "$1"
}
set_perm_recursive() { # PATH OWNER GROUP FOLDER-MODE FILE-MODE
    find "$1" -type d | while read -r it; do set_perm "$it" "$2" "$3" "$4"; done
    find "$1" -type f -o -type l | while read -r it; do set_perm "$it" "$2" "$3" "$5"; done
}

umask 022
rm -rf "$TMPDIR"
mkdir -p "$TMPDIR"
unzip -o "$ZIPFILE" module.prop -d "$TMPDIR" >/dev/null || abort "! This is no module"
MODID="$(grep_prop id "$TMPDIR/module.prop")"
MODNAME="$(grep_prop name "$TMPDIR/module.prop")"
MODPATH="$NVBASE/modules_update/$MODID"
export MODID MODNAME MODPATH
ui_print "* $MODNAME"
rm -rf "$MODPATH"
mkdir -p "$MODPATH"
unzip -o "$ZIPFILE" customize.sh -d "$MODPATH" >/dev/null 2>&1
if ! grep -q '^SKIPUNZIP=1$' "$MODPATH/customize.sh" 2>/dev/null; then
    unzip -o "$ZIPFILE" -x 'META-INF/*' -d "$MODPATH" >/dev/null || abort "! It cannot be unpacked"
    set_perm_recursive "$MODPATH" 0 0 0755 0644
fi
if [ -f "$MODPATH/customize.sh" ]; then
    # shellcheck disable=SC1091 # the module's
    . "$MODPATH/customize.sh"
fi
# What is in force goes on until the phone is started again; a module that was off is on again.
mkdir -p "$NVBASE/modules/$MODID"
touch "$NVBASE/modules/$MODID/update"
rm -f "$NVBASE/modules/$MODID/remove" "$NVBASE/modules/$MODID/disable"
cp -f "$MODPATH/module.prop" "$NVBASE/modules/$MODID/module.prop"
rm -rf "$MODPATH/customize.sh" "$MODPATH/README.md" "$TMPDIR"
ui_print "- Done"
