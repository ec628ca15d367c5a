#!/bin/sh
# Shows what Muzzle does, on any Debian or Ubuntu machine, without a phone. Run as root.
#
#   sudo ./scripts/demo.sh            colours where it writes to a terminal
#   sudo ./scripts/demo.sh --color    colours also into a pipe
#
# It installs what is missing, builds, and makes two network namespaces: a phone, and an internet
# with a resolver and web servers of its own. Apps of the phone (processes with the apps' user ids)
# then send what researchers saw Xiaomi phones send in 2020, first without Muzzle, then with it.
# Nothing that they send leaves the machine. In the end everything it made is removed; installed
# packages, the build in target/ and loaded kernel modules stay.
#
# Exits with 0 where all was as promised, 1 where something was not or the demo could not be shown.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"
muzzle=target/release/muzzle

# --- the machine's part: arguments, cleaning up, what is needed ----------------------------------

colour=""
[ ! -t 1 ] || [ -n "${NO_COLOR-}" ] || colour=1
case "${1-}" in
"") ;;
--color | --colour) colour=1 ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    case "$1" in -h | --help) exit 0 ;; *) exit 64 ;; esac
    ;;
esac
if [ -n "$colour" ]; then
    unset NO_COLOR
    export CLICOLOR_FORCE=1 DEMO_COLOUR=1
    bold="$(printf '\033[1m')" red="$(printf '\033[1;31m')" green="$(printf '\033[32m')"
    plain="$(printf '\033[0m')"
else
    unset CLICOLOR_FORCE DEMO_COLOUR
    export NO_COLOR=1
    bold="" red="" green="" plain=""
fi

work="" phone="" internet="" made_etc="" made_run="" pids="" daemon="" broken=0

clean_up() {
    status=$?
    trap '' INT TERM
    set +e
    [ -z "$daemon" ] || stop_process "$daemon"
    for pid in $pids; do
        stop_process "$pid"
    done
    for namespace in $phone $internet; do
        # Only what runs in the namespaces that this run made.
        for pid in $(ip netns pids "$namespace"); do
            kill -KILL "$pid" 2>/dev/null
        done
        ip netns del "$namespace"
        rm -rf "/etc/netns/$namespace"
    done
    # Both stay where somebody else has put something in meanwhile.
    [ -z "$made_etc" ] || rmdir /etc/netns 2>/dev/null
    if [ -n "$made_run" ] && [ -z "$(ls -A /run/netns)" ]; then
        umount /run/netns
        rmdir /run/netns
    fi
    [ -z "$work" ] || rm -rf "$work"
    exit "$status"
}
stop_process() { # PID
    kill -TERM "$1" 2>/dev/null
    tries=0
    while kill -0 "$1" 2>/dev/null && [ "$tries" -lt 30 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '%s\n' "$*"; }
heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
scene() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
die() {
    printf 'demo.sh: %s\n' "$*" >&2
    exit 1
}
# Something is not as promised; the demo goes on, so that all of it is seen.
broke() {
    printf '  %sNOT AS PROMISED: %s%s\n' "$red" "$*" "$plain"
    broken=$((broken + 1))
}
wait_for() { # WHAT COMMAND...
    what=$1 tries=0
    shift
    until "$@"; do
        [ "$tries" -lt 100 ] || die "$what did not start in 10 s"
        tries=$((tries + 1))
        sleep 0.1
    done
}

[ "$(id -u)" -eq 0 ] || die "network namespaces and packet queues need root: sudo $0"
[ -e /proc/net/if_inet6 ] || die "half of the demo is about IPv6, which is switched off here"

heading "What is needed, and the build (the first one takes some minutes)"
./scripts/setup.sh
cargo build --release --locked
# What root has built here would be in the way of the user's own next build.
[ -z "${SUDO_UID-}" ] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" target
started="$(date +%s)"

# --- the stage: a phone and an internet -----------------------------------------------------------

number=1 suffix=""
while [ -e "/run/netns/phone$suffix" ] || [ -e "/run/netns/internet$suffix" ] ||
    [ -e "/etc/netns/phone$suffix" ] || [ -e "/etc/netns/internet$suffix" ]; do
    number=$((number + 1))
    suffix="-$number"
done
[ -d /run/netns ] || made_run=1
cannot="cannot make a network namespace; in a container this needs more rights (--privileged)"
ip netns add "phone$suffix" || die "$cannot"
phone="phone$suffix"
ip netns add "internet$suffix" || die "$cannot"
internet="internet$suffix"
on_phone() { ip netns exec "$phone" "$@"; }

if ! on_phone "$muzzle" --config config/muzzle.toml doctor >/dev/null 2>&1; then
    on_phone "$muzzle" --config config/muzzle.toml doctor >&2 || true
    die "this kernel lacks what Muzzle cannot do without, see above"
fi

ip -n "$phone" link add wlan0 type veth peer name inet0 netns "$internet"
ip -n "$phone" -batch - <<END
link set lo up
link set wlan0 up
addr add 10.77.0.2/24 dev wlan0
addr add 2001:db8:77::2/64 dev wlan0 nodad
route add default via 10.77.0.1
END
ip -n "$internet" -batch - <<END
link set lo up
link set inet0 up
addr add 10.77.0.1/24 dev inet0
addr add 2001:db8:77::1/64 dev inet0 nodad
addr add 203.0.113.53/32 dev lo
addr add 2001:db8:53::53/128 dev lo nodad
END
ip -n "$phone" -6 route add default via 2001:db8:77::1
dns4=203.0.113.53 dns6=2001:db8:53::53

work="$(mktemp -d /tmp/muzzle-demo.XXXXXX)"
# Apps read their uploads and the certificate here.
chmod 755 "$work"
[ -d /etc/netns ] || made_etc=1
mkdir -p "/etc/netns/$phone"
echo "nameserver $dns4" >"/etc/netns/$phone/resolv.conf"
# The machine's own resolver, if it runs one, must not answer for the phone.
echo "hosts: files dns" >"/etc/netns/$phone/nsswitch.conf"

# The hosts the researchers named, and one of the advertising service. Each has its own address,
# so that what reaches it can be counted.
browser_host=sa.api.intl.miui.com
analytics_host=tracking.intl.miui.com
player_host=data.mistat.intl.xiaomi.com
ads_host=sdkconfig.ad.intl.xiaomi.com
push_host=app.chat.global.xiaomi.net
telemetry="$browser_host $analytics_host $player_host $ads_host"
set -- --address=/#/198.51.100.7 --address=/#/2001:db8:7::7
addresses="198.51.100.7 2001:db8:7::7" watched="" last=10
for host in $telemetry; do
    last=$((last + 1))
    set -- "$@" "--address=/$host/198.51.100.$last" "--address=/$host/2001:db8:7::$last"
    addresses="$addresses 198.51.100.$last 2001:db8:7::$last"
    watched="$watched $host=198.51.100.$last,2001:db8:7::$last"
done
for address in $addresses; do
    case "$address" in
    *:*) ip -n "$internet" addr add "$address/128" dev lo nodad ;;
    *) ip -n "$internet" addr add "$address/32" dev lo ;;
    esac
done

touch "$work/queries.log" "$work/server.out" "$work/server.jsonl" "$work/steps.tsv"
ip netns exec "$internet" dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv \
    --no-hosts --user=root --bind-interfaces --pid-file= --local-ttl=60 --log-queries \
    --log-facility="$work/queries.log" --listen-address="$dns4,$dns6" "$@" &
pids="$pids $!"

names="DNS:*.example.org,DNS:*.example.com,DNS:account.xiaomi.com"
for host in $telemetry; do
    names="$names,DNS:$host"
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=demo \
    -addext "subjectAltName=$names" -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null
chmod 644 "$work/certificate.pem"
# shellcheck disable=SC2086 # a list of words
PYTHONDONTWRITEBYTECODE=1 ip netns exec "$internet" python3 scripts/demo/server.py \
    "$work/certificate.pem" "$work/key.pem" "$work/server.jsonl" "$work/uploads" $addresses \
    >"$work/server.out" &
pids="$pids $!"
wait_for "the web server" grep -q ready "$work/server.out"
is_resolving() { on_phone dig +time=1 +tries=1 "@$dns6" ready.example.org >/dev/null 2>&1; }
wait_for "dnsmasq" is_resolving

# Rules as Android's netd has them, to show that they come out as they went in.
for program in iptables-legacy ip6tables-legacy; do
    on_phone "$program-restore" -w 5 <<END
*raw
COMMIT
*mangle
:wakeupctrl_mangle_INPUT - [0:0]
-A INPUT -j wakeupctrl_mangle_INPUT
COMMIT
*nat
:oem_nat_pre - [0:0]
-A PREROUTING -j oem_nat_pre
COMMIT
*filter
:fw_OUTPUT - [0:0]
:bw_OUTPUT - [0:0]
-A OUTPUT -j fw_OUTPUT
-A OUTPUT -j bw_OUTPUT
COMMIT
END
done
saved_rules() { # without the dates in comments and the packet counts
    for program in iptables-legacy ip6tables-legacy; do
        on_phone "$program-save" | sed -e '/^#/d' -e 's/ \[.*//'
    done
}
saved_rules >"$work/rules.before"

# The lines of a real packages.list.
while read -r package uid; do
    say "$package $uid 0 /data/user/0/$package platform:targetSdkVersion=29 3002,3003 0 1"
done >"$work/packages.list" <<END
com.android.browser 10101
com.miui.analytics 10102
com.miui.player 10103
com.android.chrome 10104
com.miui.msa.global 10105
com.xiaomi.xmsf 10106
END
network_stack=1073 # Android's own, the same on every phone
browser=10101 analytics=10102 player=10103 chrome=10104 ads=10105 services=10106

PYTHONDONTWRITEBYTECODE=1 python3 scripts/demo/sensors.py >"$work/upload"
cp tests/data/decode/mistat.form "$work/mistat"
# OneTrack encrypts what it sends, with a key that is not in it.
head -c 400 /dev/urandom >"$work/onetrack"
chmod 644 "$work/upload" "$work/onetrack" "$work/mistat"
# What every curl of the demo does beside what its command line says.
cat >"$work/.curlrc" <<END
silent
show-error
max-time = 5
output = /dev/null
cacert = $work/certificate.pem
write-out = "%{http_code} %{time_total}"
END

# --- what the apps do -----------------------------------------------------------------------------

# attempt UID WANTED NAME COMMAND... runs the command as that app; the sockets are opened under its
# uid. WANTED: "refused", or what the app should get (an HTTP status; "address" for look-ups).
attempt() {
    uid=$1 wanted=$2 name=$3
    shift 3
    app="$(awk -v uid="$uid" '$2 == uid { print $1 }' "$work/packages.list")"
    say "  ${bold}${app:-network_stack}${plain}\$ $*"
    run_as "$uid" "$@"
    if [ "$got" = refused ]; then
        say "    ${red}refused${plain} after $milliseconds ms$start: $told"
    else
        say "    ${green}got $got${plain} after $milliseconds ms$start${told:+: $told}"
    fi
    [ "$got" = "$wanted" ] || broke "$name: wanted $wanted, got $got ($told)"
    if [ "$got" = refused ] && [ "${milliseconds%.*}" -ge 1000 ]; then
        broke "$name: the app waited for $milliseconds ms"
    fi
    printf '%s\t%s\t%s\t%s\n' "$uid" "$name" "$got" "$milliseconds" >>"$work/steps.tsv"
    # The log gathers for 50 ms.
    sleep 0.15
}
# shellcheck disable=SC2016 # expands in the shell that runs it
timed='before=$(date +%s%N); "$@"; code=$?; echo "$before $(date +%s%N)" >&3; exit $code'
# Sets got, told (what the program said) and milliseconds: as dig and curl measured it. getent does
# not measure, and curl not well where a look-up fails: there it is the program's whole run.
run_as() { # UID COMMAND...
    run_uid=$1 program=$2 code=0 start=""
    shift
    output="$(cd "$work" && CURL_HOME="$work" ip netns exec "$phone" setpriv "--reuid=$run_uid" \
        "--regid=$run_uid" --clear-groups --no-new-privs -- sh -c "$timed" sh "$@" \
        2>"$work/errors" 3>"$work/times")" || code=$?
    whole="$(awk '{ printf "%.1f", ($2 - $1) / 1000000 }' "$work/times")"
    told="$(head -n 1 "$work/errors")"
    case "$program" in
    curl)
        got="${output% *}"
        milliseconds="$(awk -v s="${output#* }" 'BEGIN { printf "%.1f", s * 1000 }')"
        [ "$code" -eq 0 ] || got=refused
        [ "$code" -ne 6 ] || milliseconds=$whole start=" (with its own start)"
        ;;
    dig)
        milliseconds="$(say "$output" | awk '/Query time:/ { printf "%.1f", $4 / 1000 }')"
        told="$(say "$output" | sed -n 's/.*status: \([A-Z]*\).*/\1/p')"
        got=refused
        case "$output" in *"ANSWER SECTION"*) got=address ;; esac
        ;;
    getent)
        milliseconds=$whole start=" (with its own start)" got=refused
        if [ "$code" -eq 0 ]; then
            got=address told="$(say "$output" | awk 'NR == 1 { print $1 }')"
        else
            told="${told:-getent found no such host} (status $code)"
        fi
        ;;
    esac
}
report() { PYTHONDONTWRITEBYTECODE=1 python3 scripts/demo/report.py "$@"; }

heading "1. Without Muzzle"

scene "Mi Browser, in incognito, tells what was searched for and which page was read"
attempt $browser 200 $browser_host curl --data @upload \
    "https://$browser_host/sa?project=global_browser"
scene "The system tells which folders were opened and which screens were swiped"
attempt $analytics 200 $analytics_host curl --data-binary @onetrack \
    "https://$analytics_host/track/v4"
scene "The music app tells what is played"
attempt $player 200 $player_host curl --data-binary @mistat "http://$player_host/mistats/v2"
scene "What the other end has now: muzzle decode"
decoded="$("$muzzle" decode "$work/uploads" 2>&1)" || broke "what was sent cannot be decoded"
say "$decoded" | sed "s/^/  /"

heading "2. With Muzzle, as it is shipped"

mkdir -m 700 "$work/control"
sed -e "s|^packages_list = .*|packages_list = \"$work/packages.list\"|" \
    -e "s|^socket = .*|socket = \"$work/control/muzzle.sock\"|" \
    -e "/^\[history\]/,/^\[control\]/s|^directory = .*|directory = \"$work/history\"|" \
    config/muzzle.toml >"$work/muzzle.toml"
wc -l <"$work/queries.log" >"$work/marks"
wc -l <"$work/server.jsonl" >>"$work/marks"
: >"$work/steps.tsv"
ip netns exec "$phone" "$muzzle" --config "$work/muzzle.toml" daemon >"$work/daemon.log" 2>&1 &
daemon=$!
is_ready() {
    kill -0 "$daemon" 2>/dev/null || die "the daemon ended: $(cat "$work/daemon.log")"
    [ -S "$work/control/muzzle.sock" ]
}
wait_for "the daemon" is_ready
ask() { "$muzzle" --config "$work/muzzle.toml" "$@"; }
sed "s/^/  /" "$work/daemon.log"
say "  The config is config/muzzle.toml; the list of apps and the control socket are made for this."
say "  Lines that begin with | are the live log: muzzle log --follow"

mkfifo "$work/live"
report live <"$work/live" &
pids="$pids $!"
ask log --follow --recent 0 >"$work/live" 2>/dev/null &
pids="$pids $!"
sleep 0.2

scene "Mi Browser: the page itself comes, the upload about it does not leave"
attempt $browser 200 news.example.org curl https://news.example.org/a-private-matter
attempt $browser refused $browser_host curl --data @upload \
    "https://$browser_host/sa?project=global_browser"
scene "It knows the address from before, so that it needs no DNS: IPv4, IPv6"
attempt $browser refused $browser_host curl --resolve "*:443:198.51.100.11" --data @upload \
    "https://$browser_host/sa?project=global_browser"
attempt $browser refused $browser_host curl --resolve "*:443:[2001:db8:7::11]" --data @upload \
    "https://$browser_host/sa?project=global_browser"

scene "Folders and screens: the resolver is asked over IPv4 and IPv6, then a known address is used"
attempt $analytics refused $analytics_host dig -u "@$dns4" $analytics_host A
attempt $analytics refused $analytics_host dig -u "@$dns6" $analytics_host AAAA
attempt $analytics refused $analytics_host curl --resolve "*:443:[2001:db8:7::12]" \
    --data-binary @onetrack "https://$analytics_host/track/v4"

scene "Music: over plain HTTP"
attempt $player refused $player_host getent ahosts $player_host
attempt $player refused $player_host curl --resolve "*:80:198.51.100.13" \
    --data-binary @mistat "http://$player_host/mistats/v2"
attempt $player refused $player_host curl --resolve "*:80:[2001:db8:7::13]" \
    --data-binary @mistat "http://$player_host/mistats/v2"

scene "The advertising service asks what to show"
attempt $ads refused $ads_host dig -u +tcp "@$dns4" $ads_host A

scene "What has to work does: Wi-Fi check, account, push messages, other apps"
attempt $network_stack 204 connect.rom.miui.com curl http://connect.rom.miui.com/generate_204
attempt $services 200 account.xiaomi.com curl https://account.xiaomi.com/
attempt $services address $push_host dig -u "@$dns6" $push_host AAAA
attempt $chrome address www.example.com getent ahosts www.example.com
attempt $chrome 200 www.example.com curl -4 https://www.example.com/
attempt $chrome 200 www.example.com curl -6 https://www.example.com/
attempt $chrome 200 www.example.com curl -6 http://www.example.com/

heading "3. Who, what, where to"

ask log --json >"$work/log.jsonl"
# shellcheck disable=SC2086 # lists of words
report table "$work" $telemetry || broken=$((broken + 1))
say "App waited: with the start of curl and getent, where they look up a name."

scene "What the internet heard of them meanwhile, in its own logs"
# shellcheck disable=SC2086 # lists of words
report silence "$work" $watched || broke "telemetry has left the phone"

scene "Muzzle is stopped"
kill -TERM "$daemon"
code=0
wait "$daemon" || code=$?
daemon=""
[ "$code" -eq 0 ] || broke "the daemon ended with status $code: $(cat "$work/daemon.log")"
saved_rules >"$work/rules.after"
if diff "$work/rules.before" "$work/rules.after" >"$work/rules.diff"; then
    lines="$(wc -l <"$work/rules.after")"
    say "  iptables-save and ip6tables-save: as before Muzzle, all of their $lines lines"
else
    broke "Muzzle has left rules behind: $(cat "$work/rules.diff")"
fi
attempt $browser 200 $browser_host curl --data @upload \
    "https://$browser_host/sa?project=global_browser"

scene "To know"
say "  On a phone the system's resolver asks for most apps; the log shows the app it asks for."
say "  Why a host is blocked: $muzzle check $browser_host"

say ""
seconds=$(($(date +%s) - started))
if [ "$broken" -eq 0 ]; then
    say "${green}All as promised${plain}, in $seconds s without the build."
else
    say "${red}$broken things were not as promised${plain}, in $seconds s without the build."
    exit 1
fi
