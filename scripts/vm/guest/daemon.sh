# The daemon by itself, as a service script starts it. Sourced by test.sh.
# shellcheck shell=dash

muzzle=/data/local/tmp/muzzle
cp /vm/muzzle "$muzzle"
mkdir -p /data/local/tmp/control
sed -e 's|^socket = .*|socket = "/data/local/tmp/control/control.sock"|' \
    -e '/^\[history\]/,/^\[control\]/s|^directory = .*|directory = "/data/local/tmp/history"|' \
    -e 's|^iptables = .*|iptables = "/system/bin/iptables"|' /vm/muzzle.toml >/data/local/tmp/muzzle.toml
ask() { "$muzzle" --config /data/local/tmp/muzzle.toml "$@"; }
in_log() { ask log --json | grep "\"name\":\"$blocked\"" | grep "$1" | grep "$2" | grep -q "$3"; }

heading "before Muzzle"
resolves $blocked "$web4" "$web6" "passes"
connects tls $blocked answered "passes"
connects http $blocked answered "passes"

heading "what this kernel has"
ask doctor || fail "muzzle doctor" "status $?"

heading "a report on it"
bundle=/data/local/tmp/bundle.txt
has() { grep -q -e "$1" "$bundle"; }
ask doctor --bundle $bundle || fail "muzzle doctor --bundle" "status $?"
is "only its owner may read it" "$(stat -c %a $bundle)" 600
is "it is whole" "$(tail -n 1 $bundle)" "End of the bundle."
holds "it names the Android version" has '^ro.build.version.sdk  *33$'
holds "it has the chains" has '-A INPUT -j wakeupctrl_mangle_INPUT'
for address in "IPv4: to 127.0.0.1" "IPv6: to .::1."; do
    holds "a socket given away: its owner by socket diagnosis" has "^$address:.*inet_diag 9999"
    holds "the same by /proc/net" has "^$address:.*/proc/net/udp6* 9999"
done
holds "it has the time in the queue" has 'through the queue: median'
holds "what cannot be done says why" has 'not done: private_dns_mode: not found'
holds "the checks changed nothing" has '^as before: '
holds "iptables-save and ip6tables-save are as before it" no_rules_left
is "no address of the phone is in it" "$(grep -e 2001:db8 -e 203.0.113 $bundle)" ""
if ask doctor --bundle $bundle 2>/dev/null; then
    fail "a bundle that is there is kept" "it was written again"
fi
rm -f $bundle

heading "the daemon at work"
# Not through a function, which would put a shell between.
"$muzzle" --config /data/local/tmp/muzzle.toml daemon --service >/tmp/daemon.log 2>&1 &
daemon=$!
soon "it starts" 30 ask status
holds "its rules are there, in both families" has_jump
resolves $blocked nxdomain nxdomain "refused"
resolves $allowed "$web4" "$web6" "passes"
resolves account.xiaomi.com "$web4" "$web6" "essential, passes"
connects tls $blocked refused "refused"
connects tls $allowed answered "passes"
connects http $blocked refused "refused"
connects http $allowed answered "passes"
browser='"app":"com.android.browser"'
soon "the log names the app: DNS" 5 in_log "$browser" '"evidence":"dns"' '"outcome":"blocked"'
soon "the log names the app: TLS" 5 in_log "$browser" '"evidence":"sni"' '"outcome":"blocked"'
soon "the log names the app: HTTP" 5 in_log "$browser" '"evidence":"host"' '"outcome":"blocked"'
ask status
is "status" "$(ask status)" "*is protecting*"
ask reload >/dev/null || fail "reload" "status $?"
is "refused after a reload" "$(client dns $dns4 $blocked A)" "nxdomain * ms"
