# shellcheck shell=dash
# Sourced by the manager's installer once the zip is unpacked into MODPATH. It says what is wrong
# before it changes anything; all that outlives the module folder is in /data/adb/muzzle.
# No `exit` here: the installer has to clean up.

data=/data/adb/muzzle
config="$data/muzzle.toml"
program="$MODPATH/bin/muzzle"
on_this_kernel=${BOOTMODE:-false} # a recovery has another kernel, and perhaps no linker

say_lines() { # each line of the input, indented
    while IFS= read -r line; do
        ui_print "    $line"
    done
}

# --- 1. Is this the right zip, whole, on the right phone? ----------------------------------------

if [ "${KSU-}" = true ]; then
    ui_print "- KernelSU ${KSU_VER-}"
elif [ "${APATCH-}" = true ]; then
    ui_print "- APatch ${APATCH_VER-}"
else
    ui_print "- Magisk ${MAGISK_VER-}"
fi
unchanged="Nothing was changed."
[ "$ARCH" = arm64 ] ||
    abort "! Muzzle is built for 64-bit ARM phones (arm64); this one is ${ARCH:-unknown}. $unchanged"
[ "${API:-0}" -ge 26 ] ||
    abort "! Muzzle needs Android 8 (API 26) or later; this is API ${API:-unknown}. $unchanged"

ui_print "- Checking the files"
# The managers do not unpack META-INF.
if ! said="$(cd "$MODPATH" && grep -v '  META-INF/' SHA256SUMS | sha256sum -c - 2>&1)"; then
    ui_print "  These files are not as they were built:"
    echo "$said" | grep -v ': OK$' | say_lines
    abort "! The zip is damaged: download it again. $unchanged"
fi

version_code="$(sed -n 's/^versionCode=//p' "$MODPATH/module.prop")"
newest="$(cat "$data/version-code" 2>/dev/null)"
if [ "${newest:-0}" -gt "$version_code" ] 2>/dev/null; then
    ui_print "  A newer Muzzle (versionCode $newest) has been here. This one (versionCode"
    ui_print "  $version_code) may not understand its config and its data in $data."
    ui_print "  To go back all the same: keep a copy of that folder, delete the file"
    ui_print "  $data/version-code, and install this zip again."
    abort "! Not installed over a newer version. $unchanged"
fi

# --- 2. Can this phone run it? --------------------------------------------------------------------

set_perm "$program" 0 0 0755
for script in service.sh action.sh uninstall.sh description.sh; do
    set_perm "$MODPATH/$script" 0 0 0755
done

if [ "$on_this_kernel" = true ]; then
    ui_print "- Trying what this kernel can do"
    if ! said="$("$program" --version 2>&1)"; then
        echo "$said" | say_lines
        abort "! The program does not run on this phone. $unchanged"
    fi
    # The built-in defaults: the config may be wrong, which is told below.
    if findings="$(timeout 60 "$program" --config "$MODPATH/muzzle.toml" doctor 2>&1)"; then
        ui_print "  All that is needed is there."
        echo "$findings" | grep '^missing' | say_lines
    elif echo "$findings" | grep -q '^missing'; then
        echo "$findings" | grep -A 1 '^missing' | grep -v '^--$' | say_lines
        abort "! This kernel or its iptables lacks what Muzzle cannot do without. $unchanged"
    else
        ui_print "  The test itself failed, so it says nothing about the kernel:"
        echo "$findings" | say_lines
        ui_print "  Muzzle tries again when it starts; see its status after the reboot."
    fi
else
    ui_print "- In a recovery: what the phone's own kernel can do is found out at the next start"
fi

# An update by somebody else is no mistake in itself, but has to be a wish. The installed program
# judges; what a zip says of itself proves nothing.
installed=/data/adb/modules/muzzle
if [ -e "$installed/muzzle.pub" ] && [ "$on_this_kernel" = true ] &&
    ! said="$("$installed/bin/muzzle" verify --public-key "$installed/muzzle.pub" "$MODPATH" 2>&1)"; then
    ui_print "! CAUTION: the installed Muzzle is signed, and this one is not signed by that key:"
    echo "$said" | say_lines
    ui_print "  If you did not mean to change to another maker's, do not restart: install the"
    ui_print "  zip of the first maker again."
fi

# --- 3. Who else works on the network? ------------------------------------------------------------

neighbour() { # FOLDER: what there is to know about that module
    case "$(echo "${1##*/}" | tr '[:upper:]' '[:lower:]')" in
    *zapret* | zdt-d | zdt_d | *nfqws*)
        echo "CAUTION: it takes packets from netfilter queues too. Both work side by side as"
        echo "long as their queue numbers and packet marks differ. If pages stop loading,"
        echo "disable one of the two to see which it is." ;;
    *adguardhome* | *agh*)
        echo "It redirects DNS to a resolver on the phone. Muzzle sees the questions first. If"
        echo "a name fails, look into both logs: either may have refused it." ;;
    box_for* | box | *clash* | *mihomo* | *singbox* | *sing-box* | *v2ray* | *xray* | surfing)
        echo "It sends connections through a proxy. Muzzle sees them first. If the proxy hands"
        echo "out made-up addresses, rules by address do not apply; rules by name do." ;;
    bindhosts | *hosts* | *malwack* | *adaway*)
        echo "Harmless. What its hosts file answers never becomes a packet, so it is missing in"
        echo "Muzzle's log." ;;
    esac
}
for module in /data/adb/modules/*; do
    if [ "${module##*/}" = muzzle ] || [ -e "$module/disable" ] || [ -e "$module/remove" ]; then
        continue
    fi
    advice="$(neighbour "$module")"
    if [ -n "$advice" ]; then
        ui_print "- Beside Muzzle: ${module##*/}"
        echo "$advice" | say_lines
    fi
done

# --- 4. The user's data ---------------------------------------------------------------------------

mkdir -p "$data/log" || abort "! Cannot make $data."
set_perm "$data" 0 0 0700
set_perm "$data/log" 0 0 0700

# A config that was never touched goes with the version; one that was is the user's.
if [ ! -e "$config" ]; then
    ui_print "- Config: $config (new, at its defaults)"
    cp "$MODPATH/muzzle.toml" "$config"
elif cmp -s "$config" "$data/muzzle.toml.default"; then
    ui_print "- Config: $config (was unchanged: now this version's)"
    cp "$MODPATH/muzzle.toml" "$config.new" && mv "$config.new" "$config"
else
    ui_print "- Config: $config (yours, kept; this version's is beside it, muzzle.toml.default)"
fi
cp "$MODPATH/muzzle.toml" "$data/muzzle.toml.default"
set_perm "$config" 0 0 0600
set_perm "$data/muzzle.toml.default" 0 0 0600

if [ "$on_this_kernel" = true ] &&
    ! said="$("$program" --config "$config" check example.org 2>&1 >/dev/null)"; then
    ui_print "! This version does not understand your config:"
    echo "$said" | say_lines
    ui_print "  It was kept as it is. Mend these lines before you restart the phone: until"
    ui_print "  then the new version does not start, and nothing is refused."
fi

echo "$version_code" >"$data/version-code"
set_perm "$data/version-code" 0 0 0600

ui_print "- Muzzle works from the next start of the phone on. The module's action button"
ui_print "  shows how it is; in a root shell: muzzle status, muzzle log --follow"
