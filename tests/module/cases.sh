#!/bin/sh
# What the module has to do on a phone. Runs under BusyBox ash, as root of the made-up phone of
# scripts/test-module.sh, where /zips has the module and broken variants of it.
set -u
failed=0
data=/data/adb/muzzle
module=/data/adb/modules/muzzle

# --- the phone ------------------------------------------------------------------------------------

# shellcheck disable=SC2034 # read by it
installer=/tests/install.sh
# shellcheck source=tests/module/manager.sh
. /tests/manager.sh

run() { as_manager "$manager" "$@" 2>&1; } # as the manager of this case
new_phone() {
    rm -rf /data/*
    mkdir -p "$modules" "$updates"
    make_manager "$manager"
}
install() { # [ZIP] [VARIABLE=VALUE...]: sets said and code
    zip=${1:-good}
    [ "$#" -eq 0 ] || shift
    said="$(install_zip "$manager" "/zips/$zip.zip" "$@" 2>&1)"
    code=$?
}
restart() { # without a clean end before
    # shellcheck disable=SC2046 # a list of words
    [ -z "$(processes)" ] || kill -KILL $(processes)
    start_phone "$manager" 2>&1
}
shown() { sed -n 's/^description=//p' "$module/module.prop"; }
ask() { "$module/bin/muzzle" --config "$data/muzzle.toml" "$@"; }
verify() { # sets said and code
    said="$(ask verify "$@" 2>&1)"
    code=$?
}
wait_for_daemon() {
    tries=0
    until ask status >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || return 1
        sleep 0.1
    done
}
rules() { iptables-legacy-save && ip6tables-legacy-save; }

# --- saying what is wrong -------------------------------------------------------------------------

case_name=""
begin() { # TEXT [MANAGER]
    case_name=$1
    manager=${2:-Magisk}
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
refused() { # and nothing was left or changed
    [ "$code" -ne 0 ] || wrong "was installed" "$said"
    says "Nothing was changed."
    [ ! -e /data/adb/modules_update/muzzle ] || wrong "left its folder"
}
mode() { stat -c %a "$1"; }

# --- installing -----------------------------------------------------------------------------------

for name in Magisk KernelSU APatch; do
    begin "fresh installation by $name" "$name"
    install
    installed
    case "$name" in
    Magisk) says "- Magisk 28.1" ;;
    KernelSU) says "- KernelSU v1.0.5" ;;
    APatch) says "- APatch 11142" ;;
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

begin "a zip without its list of files"
install unlisted
refused
says "The zip is damaged"
[ ! -e "$data" ] || wrong "made its data folder"

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
restart >/dev/null
wait_for_daemon
sed -i 's/^mode = .*/mode = "observe"/' "$data/muzzle.toml"
cp "$data/muzzle.toml" /data/mine
install
installed
says "yours, kept"
is_silent_on "does not understand"
cmp "$data/muzzle.toml" /data/mine || wrong "changed it"
run ash "$module/uninstall.sh"

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
restart
sleep 0.5
said="$(run ash "$module/action.sh")"
says "$data/muzzle.toml:3:"
is "rules in the firewall" "" "$(rules | grep muzzle)"

begin "an update that the first maker did not sign is named"
install signed
is_silent_on "CAUTION"
take_updates
install signed
installed
is_silent_on "CAUTION"
install good
installed
says "CAUTION: the installed Muzzle is signed"
says "whole, not signed"
install other
installed
says "CAUTION: the installed Muzzle is signed"
says "whole, signed by another key"
take_updates
install other
is_silent_on "CAUTION"

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

for name in Magisk KernelSU APatch; do
    begin "from the start of the phone to the removal, under $name" "$name"
    before="$(rules | sed '/^#/d; s/ \[.*//')"
    install
    said="$(restart)"
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
    said="$(run ash "$module/action.sh")"
    says "is protecting"
    says "Last decisions"
    [ $(($(date +%s) - started)) -lt 10 ] || wrong "the action takes 10 s"
    is "Muzzle's chains" yes "$(rules | grep -q muzzle_out && echo yes)"
    run ash "$module/uninstall.sh"
    rm -rf "$module"
    is "what is left in /data" "" "$(find /data "$commands" -name '*muzzle*' ! -path '/data/adb/modules*')"
    is "the firewall" "$before" "$(rules | sed '/^#/d; s/ \[.*//')"
    is "processes" "" "$(processes)"
done

begin "chains of a daemon that was killed go with the module"
install
restart
wait_for_daemon
before="$(iptables-legacy -t raw -S OUTPUT; iptables-legacy -t mangle -S PREROUTING)"
is "Muzzle's jump" yes "$(echo "$before" | grep -q muzzle_ && echo yes)"
# shellcheck disable=SC2046 # a list of words
kill -KILL $(processes)
rm "$module/bin/muzzle"
run ash "$module/uninstall.sh"
is "Muzzle's rules" "" "$(rules | grep muzzle)"

# --- the description ------------------------------------------------------------------------------

begin "the description under Magisk"
install
take_updates
own="$(shown)"
run ash "$module/description.sh" protecting 'a\nb & c/d | e'
is "the description" "protecting: a\\nb & c/d   e | $own" "$(shown)"
run ash "$module/description.sh" observing "nothing is refused"
is "the description" "observing: nothing is refused | $own" "$(shown)"
is "the rest" "id=muzzle" "$(head -n 1 "$module/module.prop")"
is "files" "" "$(find "$module" -name '*.new')"
said="$(run ash "$module/description.sh" protecting)"
is "its status without a text" 64 "$?"

begin "the description on a full disk"
install
take_updates
shown_before="$(cat "$module/module.prop")"
cp -a "$module" /data/whole
mount -t tmpfs -o size=256k full "$module"
cp /data/whole/module.prop /data/whole/description.sh "$module"
yes 2>/dev/null >"$module/filling"
said="$(run ash "$module/description.sh" protecting "telemetry is refused")"
is "its status" 1 "$?"
says "cannot be written"
is "module.prop" "$shown_before" "$(cat "$module/module.prop")"
is "files" "" "$(find "$module" -name '*.new')"
rm "$module/filling"
run ash "$module/description.sh" protecting "telemetry is refused"
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
restart
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

for name in KernelSU APatch; do
    begin "the description under $name" "$name"
    case "$name" in
    KernelSU) tool=/data/adb/ksud variable=KSU_MODULE ;;
    APatch) tool=/data/adb/apd variable=AP_MODULE ;;
    esac
    install
    take_updates
    own="$(shown)"
    printf '#!/bin/sh\necho "$%s $*" >>/data/calls\n' "$variable" >"$tool"
    chmod 755 "$tool"
    run ash "$module/description.sh" protecting "all well"
    is "the call" \
        "muzzle module config set --temp override.description protecting: all well | $own" \
        "$(cat /data/calls)"
    is "module.prop's" "$own" "$(shown)"
    # An older one has no such command.
    printf '#!/bin/sh\nexit 2\n' >"$tool"
    run ash "$module/description.sh" protecting "all well"
    is "module.prop's" "protecting: all well | $own" "$(shown)"
done

# --- who made it ----------------------------------------------------------------------------------

passes() { # TEXT FILE [ARGUMENT...]
    wanted=$1
    shift
    verify "$@"
    is "the status of verify $*" 0 "$code"
    says "$wanted"
}
fails() { # TEXT FILE [ARGUMENT...]
    wanted=$1
    shift
    verify "$@"
    is "the status of verify $*" 1 "$code"
    says "$wanted"
}
first="$(tail -n 1 /zips/first.pub)"
other="$(tail -n 1 /zips/other.pub)"

begin "zips under a module that is not signed"
install
take_updates
passes "whole, not signed" /zips/good.zip
passes "whole, signed" /zips/signed.zip
says "$first (came with it)"
passes "whole, signed" /zips/inside.zip
passes "$first (--public-key)" /zips/signed.zip --public-key "$first"
passes "$other (--public-key)" /zips/other.zip --public-key /zips/other.pub
fails "whole, signed by another key" /zips/signed.zip --public-key "$other"
fails "whole, not signed" /zips/good.zip --public-key "$first"
fails "changed  service.sh" /zips/changed.zip
is_silent_on "action.sh"
fails "missing  service.sh" /zips/missing.zip
fails "added    post-fs-data.sh" /zips/added.zip
fails "whole, its signature is wrong" /zips/forged.zip
fails "whole, its signature is wrong" /zips/repacked.zip
fails "not in the form that minisign writes" /zips/garbled.zip
fails "no whole zip" /zips/half.zip
fails "no release of Muzzle" /zips/unlisted.zip
fails "cannot read" /zips/none.zip
passes '"good": true' /zips/signed.zip --json
fails '"fault": "changed"' /zips/changed.zip --json
verify /zips/signed.zip --public-key nonsense
is "the status with a key that is none" 64 "$code"

begin "zips and a module that is signed"
install signed
restart
wait_for_daemon
passes "$first (the installed module's)" /zips/signed.zip
fails "whole, not signed" /zips/good.zip
says "wanted   $first"
fails "whole, signed by another key" /zips/other.zip
says "$other (came with it)"
touch "$module/disable"
tries=0
until shown | grep -q '^off: ' || [ "$tries" -ge 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
is "the description" "off: " "$(shown | cut -c 1-5)"
passes "$module: whole, signed"
says "catalogue: the one in the program"
fails "signed by another key" --public-key "$other"
echo reboot >>"$module/service.sh"
rm "$module/action.sh"
mkdir "$module/system"
touch "$module/system/hosts"
fails "changed  service.sh"
says "missing  action.sh"
says "added    system/hosts"
is_silent_on "module.prop"

begin "a catalogue of one's own"
install
take_updates
mkdir "$data/catalogue"
echo "# mine" >"$data/catalogue/mine.toml"
sed -i "s|^directory = .*|directory = \"$data/catalogue\"|" "$data/muzzle.toml"
passes "your own catalogue, without a list"
(cd "$data/catalogue" && sha256sum -- *.toml >/data/sums && mv /data/sums SHA256SUMS)
passes "$data/catalogue: whole, not signed"
echo "# changed" >>"$data/catalogue/mine.toml"
fails "changed  mine.toml"

if [ "$failed" -gt 0 ]; then
    echo "module: $failed failed"
    exit 1
fi
echo "module: all cases passed"
