#!/bin/sh
# What the module has to do on a phone. Runs under BusyBox ash, as root of the made-up phone of
# scripts/test-module.sh, where /zips has the module and broken variants of it.
set -u
failed=0
data=/data/adb/muzzle
modules=/data/adb/modules
module="$modules/muzzle"

# --- the phone ------------------------------------------------------------------------------------

phone="ARCH=arm64 IS64BIT=true API=34 BOOTMODE=true"
# shellcheck disable=SC2034 # each is used by its name
magisk="MAGISK_VER=27.0 MAGISK_VER_CODE=27000"
# shellcheck disable=SC2034
kernelsu="KSU=true KSU_VER=v3.0.0 KSU_VER_CODE=32000 MAGISK_VER=25.2 MAGISK_VER_CODE=25200"
# shellcheck disable=SC2034
apatch="APATCH=true APATCH_VER=11142 APATCH_VER_CODE=11142 MAGISK_VER=27.0 MAGISK_VER_CODE=27000"
manager=$magisk

# as_manager COMMAND...: in the manager's environment, and nothing else of ours.
as_manager() {
    # shellcheck disable=SC2086 # lists of words
    env -i PATH="$PATH" $manager "$@" 2>&1
}
new_phone() {
    rm -rf /data/* /debug_ramdisk
    mkdir -p "$modules" /data/adb/ksu/bin /data/adb/ap/bin /debug_ramdisk
}
install() { # [ZIP] [VARIABLE=VALUE...]: sets said and code
    zip=${1:-good}
    [ "$#" -eq 0 ] || shift
    # shellcheck disable=SC2086 # a list of words
    said="$(as_manager env $phone "$@" ash /tests/manager.sh "/zips/$zip.zip")"
    code=$?
}
reboot() { # as far as the module sees it
    # shellcheck disable=SC2046 # a list of words
    [ -z "$(processes)" ] || kill -KILL $(processes)
    if [ -d /data/adb/modules_update/muzzle ]; then
        rm -rf "$module"
        mv /data/adb/modules_update/muzzle "$module"
    fi
    as_manager ash "$module/service.sh"
}
shown() { sed -n 's/^description=//p' "$module/module.prop"; }
ask() { "$module/bin/muzzle" --config "$data/muzzle.toml" "$@"; }
wait_for_daemon() {
    tries=0
    until ask status >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || return 1
        sleep 0.1
    done
}
processes() { grep -ls '^muzzle' /proc/[0-9]*/comm | cut -d / -f 3; }
rules() { iptables-legacy-save && ip6tables-legacy-save; }

# --- saying what is wrong -------------------------------------------------------------------------

case_name=""
begin() {
    case_name=$1
    manager=$magisk
    new_phone
}
wrong() {
    failed=$((failed + 1))
    echo "FAILED: $case_name: $1"
    [ -z "${2-}" ] || echo "$2" | sed 's/^/  | /'
}
is() { # WHAT WANTED FOUND
    [ "$2" = "$3" ] || wrong "$1 is \"$3\", must be \"$2\""
}
says() {
    case "$said" in
    *"$1"*) ;;
    *) wrong "does not say \"$1\"" "$said" ;;
    esac
}
is_silent_on() {
    case "$said" in *"$1"*) wrong "says \"$1\"" "$said" ;; esac
}
installed() {
    [ "$code" -eq 0 ] || wrong "the installation failed with $code" "$said"
}
refused() { # and nothing was left or touched
    [ "$code" -ne 0 ] || wrong "was installed" "$said"
    says "Nothing was changed."
    [ ! -e /data/adb/modules_update/muzzle ] || wrong "left its folder"
}
mode() { stat -c %a "$1"; }

# --- installing -----------------------------------------------------------------------------------

for name in magisk kernelsu apatch; do
    begin "fresh installation by $name"
    eval "manager=\$$name"
    install
    installed
    case "$name" in
    magisk) says "- Magisk 27.0" ;;
    kernelsu) says "- KernelSU v3.0.0" ;;
    apatch) says "- APatch 11142" ;;
    esac
    says "All that is needed is there."
    is_silent_on "Beside Muzzle"
    is "mode of the data folder" 700 "$(mode "$data")"
    is "mode of the config" 600 "$(mode "$data/muzzle.toml")"
    is "mode of the program" 755 "$(mode /data/adb/modules_update/muzzle/bin/muzzle)"
    cmp "$data/muzzle.toml" /data/adb/modules_update/muzzle/muzzle.toml || wrong "another config"
    is "the stored version" "$(sed -n 's/versionCode=//p' /data/adb/modules_update/muzzle/module.prop)" \
        "$(cat "$data/version-code")"
    [ -e /data/adb/modules_update/muzzle/skip_mount ] || wrong "no skip_mount"
    [ ! -e /data/adb/modules_update/muzzle/system ] || wrong "mounts something"
done

begin "another processor"
install good ARCH=arm
refused
says "this one is arm."
[ ! -e "$data" ] || wrong "made its data folder"

begin "an old Android"
install good API=25
refused
says "needs Android 8"

for zip in changed missing; do
    begin "a zip with a $zip file"
    install "$zip"
    refused
    says "service.sh"
    is_silent_on "action.sh"
    [ ! -e "$data" ] || wrong "made its data folder"
done

begin "a kernel without queues"
PATH="/lacking:$PATH" install
refused
says "missing  IPv4"
says "lacks what Muzzle cannot do without"
[ ! -e "$data" ] || wrong "made its data folder"

begin "a recovery"
install good BOOTMODE=false
installed
says "In a recovery"
is_silent_on "Trying what this kernel can do"

begin "others on the network"
mkdir -p "$modules/zapret2" "$modules/bindhosts" "$modules/box_for_root" "$modules/AdGuardHome" \
    "$modules/something"
touch "$modules/box_for_root/disable"
install
installed
says "Beside Muzzle: zapret2"
says "CAUTION"
says "Beside Muzzle: bindhosts"
says "Harmless"
says "Beside Muzzle: AdGuardHome"
is_silent_on "box_for_root"
is_silent_on "something"

# --- upgrading ------------------------------------------------------------------------------------

begin "an upgrade keeps a changed config"
install
reboot >/dev/null
wait_for_daemon
sed -i 's/^mode = .*/mode = "observe"/' "$data/muzzle.toml"
cp "$data/muzzle.toml" /data/mine
install
installed
says "yours, kept"
is_silent_on "does not understand"
cmp "$data/muzzle.toml" /data/mine || wrong "changed it"
as_manager ash "$module/uninstall.sh"

begin "an upgrade brings an unchanged config up to date"
install
echo "# an older version's" >"$data/muzzle.toml"
cp "$data/muzzle.toml" "$data/muzzle.toml.default"
install
installed
says "was unchanged"
cmp "$data/muzzle.toml" /data/adb/modules_update/muzzle/muzzle.toml || wrong "it is the old one"

begin "a config that no longer parses is kept and named"
install
printf 'mode = "enforce"\n\nno_such_key = 1\n[dns]\nanswer = "loud"\n' >"$data/muzzle.toml"
cp "$data/muzzle.toml" /data/mine
install
installed
says "does not understand your config"
says "$data/muzzle.toml:3:"
says "$data/muzzle.toml:5:"
cmp "$data/muzzle.toml" /data/mine || wrong "changed it"
reboot
sleep 0.5
said="$(as_manager ash "$module/action.sh")"
says "$data/muzzle.toml:3:"
is "rules in the firewall" "" "$(rules | grep muzzle)"

begin "an older version over a newer one"
install
echo 999999999 >"$data/version-code"
echo "# mine" >"$data/muzzle.toml"
install
refused
says "versionCode 999999999"
says "delete the file"
is "the config" "# mine" "$(cat "$data/muzzle.toml")"

# --- running and going ----------------------------------------------------------------------------

for name in magisk kernelsu apatch; do
    begin "from the start of the phone to the removal, under $name"
    eval "manager=\$$name"
    case "$name" in
    magisk) commands=/debug_ramdisk ;;
    kernelsu) commands=/data/adb/ksu/bin ;;
    apatch) commands=/data/adb/ap/bin ;;
    esac
    before="$(rules | sed '/^#/d; s/ \[.*//')"
    install
    said="$(reboot)"
    is "what service.sh says" "" "$said"
    if ! wait_for_daemon; then
        wrong "the daemon does not start" "$(cat "$data/log/daemon.log")"
        continue
    fi
    tries=0
    until shown | grep -q '^protecting: ' || [ "$tries" -ge 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    said="$(shown)"
    says "protecting: "
    said="$(PATH="$commands:$PATH" muzzle --version)"
    says "muzzle "
    started="$(date +%s)"
    said="$(as_manager ash "$module/action.sh")"
    says "is protecting"
    says "Last decisions"
    [ $(($(date +%s) - started)) -lt 10 ] || wrong "the action takes 10 s"
    is "Muzzle's chains" yes "$(rules | grep -q muzzle_out && echo yes)"
    as_manager ash "$module/uninstall.sh"
    rm -rf "$module"
    is "what is left in /data" "" "$(find /data /debug_ramdisk -name '*muzzle*' ! -path '/data/adb/modules*')"
    is "the firewall" "$before" "$(rules | sed '/^#/d; s/ \[.*//')"
    is "processes" "" "$(processes)"
done

begin "chains of a daemon that was killed go with the module"
install
reboot
wait_for_daemon
before="$(iptables-legacy -t raw -S OUTPUT; iptables-legacy -t mangle -S PREROUTING)"
is "Muzzle's jump" yes "$(echo "$before" | grep -q muzzle_ && echo yes)"
# shellcheck disable=SC2046 # a list of words
kill -KILL $(processes)
rm "$module/bin/muzzle"
as_manager ash "$module/uninstall.sh"
is "Muzzle's rules" "" "$(rules | grep muzzle)"

# --- the description ------------------------------------------------------------------------------

begin "the description under Magisk"
install
mv /data/adb/modules_update/muzzle "$module"
own="$(shown)"
as_manager ash "$module/description.sh" protecting 'a\nb & c/d | e'
is "the description" "protecting: a\\nb & c/d   e | $own" "$(shown)"
as_manager ash "$module/description.sh" observing "nothing is refused"
is "the description" "observing: nothing is refused | $own" "$(shown)"
is "the rest" "id=muzzle" "$(head -n 1 "$module/module.prop")"
is "files" "" "$(find "$module" -name '*.new')"
said="$(as_manager ash "$module/description.sh" protecting)"
is "its status without a text" 64 "$?"

begin "the description on a full disk"
install
mv /data/adb/modules_update/muzzle "$module"
shown_before="$(cat "$module/module.prop")"
cp -a "$module" /data/whole
mount -t tmpfs -o size=256k full "$module"
cp /data/whole/module.prop /data/whole/description.sh "$module"
yes 2>/dev/null >"$module/filling"
said="$(as_manager ash "$module/description.sh" protecting "telemetry is refused")"
is "its status" 1 "$?"
says "cannot be written"
is "module.prop" "$shown_before" "$(cat "$module/module.prop")"
is "files" "" "$(find "$module" -name '*.new')"
rm "$module/filling"
as_manager ash "$module/description.sh" protecting "telemetry is refused"
is "the description, with room" "protecting: telemetry is refused | $own" "$(shown)"
umount "$module"

begin "a start with a full disk"
install
mkdir -p "$data/log"
cp -a "$data" /data/whole.muzzle
mount -t tmpfs -o size=256k,nr_inodes=64,mode=700 full "$data"
cp -a /data/whole.muzzle/. "$data"
yes 2>/dev/null >"$data/filling"
while mkdir "$data/filling.$((number = ${number:-0} + 1))" 2>/dev/null; do :; done
reboot
tries=0
until rules | grep -q muzzle_out || [ "$tries" -ge 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
is "Muzzle's chains" yes "$(rules | grep -q muzzle_out && echo yes)"
# shellcheck disable=SC2046 # a list of words
kill -TERM $(processes | head -n 1)
tries=0
while [ -n "$(processes)" ] && [ "$tries" -lt 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
is "Muzzle's rules" "" "$(rules | grep muzzle)"
umount "$data"

for name in kernelsu apatch; do
    begin "the description under $name"
    eval "manager=\$$name"
    case "$name" in
    kernelsu) tool=/data/adb/ksud variable=KSU_MODULE ;;
    apatch) tool=/data/adb/apd variable=AP_MODULE ;;
    esac
    install
    mv /data/adb/modules_update/muzzle "$module"
    own="$(shown)"
    printf '#!/bin/sh\necho "$%s $*" >>/data/calls\n' "$variable" >"$tool"
    chmod 755 "$tool"
    as_manager ash "$module/description.sh" protecting "all well"
    is "the call" \
        "muzzle module config set --temp override.description protecting: all well | $own" \
        "$(cat /data/calls)"
    is "module.prop's" "$own" "$(shown)"
    # An older one has no such command.
    printf '#!/bin/sh\nexit 2\n' >"$tool"
    as_manager ash "$module/description.sh" protecting "all well"
    is "module.prop's" "protecting: all well | $own" "$(shown)"
done

if [ "$failed" -gt 0 ]; then
    echo "module: $failed failed"
    exit 1
fi
echo "module: all cases passed"
