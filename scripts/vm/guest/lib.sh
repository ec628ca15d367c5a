# Words of the guest's tests. Sourced.
# shellcheck shell=dash

failed=0 passed=0

heading() { # with the seconds since the machine's start
    read -r now _ </proc/uptime
    echo "== $now s: $*"
}
pass() { # NAME [DETAIL]
    passed=$((passed + 1))
    echo "PASS $1${2:+ ($2)}"
}
fail() { # NAME DETAIL
    failed=$((failed + 1))
    echo "FAIL $1: $2"
}
# is NAME GOT WANTED, where WANTED is a shell pattern
is() {
    # shellcheck disable=SC2254 # a pattern is wanted
    case "$2" in
    $3) pass "$1" ;;
    *) fail "$1" "got '$2', wanted '$3'" ;;
    esac
}
# holds NAME COMMAND...
holds() {
    name=$1
    shift
    if "$@"; then pass "$name"; else fail "$name" "'$*' is not so"; fi
}
# wait_for SECONDS COMMAND... is silent
wait_for() {
    tries=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}
# soon NAME SECONDS COMMAND...
soon() {
    name=$1
    shift
    if wait_for "$@"; then
        pass "$name"
    else
        limit=$1
        shift
        fail "$name" "'$*' is not so after $limit s"
    fi
}

# --- the phone and its internet ------------------------------------------------------------------

app=10123           # com.android.browser, as packages.list says
dns4=203.0.113.53 dns6=2001:db8:53::53
web4=198.51.100.7 web6=2001:db8:7::7
heard=/tmp/internet.log
blocked=sa.api.intl.miui.com
allowed=news.example.org

make_network() {
    ip link set lo up
    unshare -n sleep 100000 &
    internet=$!
    wait_for 5 is_unshared
    ip link add wlan0 type veth
    other="$(ip -o link | sed -n 's/^[0-9]*: \(veth[0-9]*\)@.*/\1/p')"
    ip link set "$other" netns "$internet"
    on_internet ip link set "$other" name eth0
    for where in "" on_internet; do
        # No waiting until nobody else claims the address.
        for key in all default; do
            $where sysctl -qw "net.ipv6.conf.$key.accept_dad=0"
        done
    done
    sysctl -qw net.ipv6.conf.wlan0.accept_dad=0
    on_internet sysctl -qw net.ipv6.conf.eth0.accept_dad=0
    on_internet ip link set lo up
    on_internet ip link set eth0 up
    ip link set wlan0 up
    ip addr add 10.77.0.2/24 dev wlan0
    ip -6 addr add 2001:db8:77::2/64 dev wlan0
    on_internet ip addr add 10.77.0.1/24 dev eth0
    on_internet ip -6 addr add 2001:db8:77::1/64 dev eth0
    ip route add default via 10.77.0.1
    ip -6 route add default via 2001:db8:77::1 dev wlan0
    for address in $dns4 $web4; do
        on_internet ip addr add "$address/32" dev lo
    done
    for address in $dns6 $web6; do
        on_internet ip -6 addr add "$address/128" dev lo
    done
    on_internet /vm/peer serve "$heard" $dns4 $dns6 $web4 $web6 &
    wait_for 20 grep -q ready "$heard" || return 1
    wait_for 20 answers "$dns6" || return 1
}
is_unshared() { [ "$(readlink "/proc/$internet/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
on_internet() { nsenter -t "$internet" -n "$@"; }
answers() { case "$(client dns "$1" ready.example A)" in "$web4 "*) ;; *) return 1 ;; esac; }

# Chains as Android's netd makes them, and connection tracking, which every phone has.
make_rules() {
    for program in iptables ip6tables; do
        "$program-restore" <<END
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
:fw_INPUT - [0:0]
:fw_OUTPUT - [0:0]
:bw_OUTPUT - [0:0]
-A INPUT -j fw_INPUT
-A INPUT -m conntrack --ctstate ESTABLISHED
-A OUTPUT -j fw_OUTPUT
-A OUTPUT -j bw_OUTPUT
COMMIT
END
    done
}
saved_rules() { # without dates and counts
    for program in iptables ip6tables; do
        "$program-save" | sed -e '/^#/d' -e 's/ \[.*//'
    done
}
no_rules_left() { [ "$(saved_rules)" = "$rules_before" ]; }
has_jump() { iptables -t raw -S OUTPUT | grep -q muzzle_out && ip6tables -t raw -S OUTPUT | grep -q muzzle_out; }

# --- what apps do ---------------------------------------------------------------------------------

client() { /vm/peer as $app /vm/peer "$@"; }
millis_of() { echo "$1" | sed -n 's/.* \([0-9]*\) ms$/\1/p'; }
count_heard() { grep -c "$1" "$heard"; }
heard_more() { [ "$(count_heard "$1")" -gt "$2" ]; }

# resolves NAME WANTED-RESULT-FOR-A WANTED-FOR-AAAA TEXT: UDP and TCP, both families
resolves() {
    for server in $dns4 $dns6; do
        for over in dns dnstcp; do
            before="$(count_heard "^dns .* $1\$")"
            text="$4: $1, $over over $(family "$server")"
            is "$text, A" "$(client $over "$server" "$1" A)" "$2 * ms"
            is "$text, AAAA" "$(client $over "$server" "$1" AAAA)" "$3 * ms"
            if [ "$2" = nxdomain ]; then
                is "$text, not heard" "$(count_heard "^dns .* $1\$")" "$before"
            fi
        done
    done
}
family() { case "$1" in *:*) echo IPv6 ;; *) echo IPv4 ;; esac; }

# connects tls|http NAME answered|refused TEXT: both families; the server tells what it heard
connects() {
    port=443
    [ "$1" = tls ] || port=80
    for server in $web4 $web6; do
        text="$4: $2, $1 over $(family "$server")"
        before="$(count_heard "^tcp $port ")"
        is "$text" "$(client "$1" "$server" "$2")" "$3 * ms"
        if ! wait_for 20 heard_more "^tcp $port " "$before"; then
            fail "$text, at the server" "the connection has not ended there"
            continue
        fi
        last="$(grep "^tcp $port " "$heard" | tail -n 1)"
        case "$3" in
        refused) is "$text, at the server" "$last" "tcp $port 0 bytes, *" ;;
        *) is "$text, at the server" "$last" "tcp $port [1-9]* bytes, *" ;;
        esac
    done
}

# --- the daemon -----------------------------------------------------------------------------------

# Children by name, since the supervisor may run iptables beside its worker.
worker_of() {
    # shellcheck disable=SC2013 # words are wanted
    for child in $(cat "/proc/$1/task/$1/children"); do
        case "$(tr '\0' ' ' <"/proc/$child/cmdline")" in *" worker "*) echo "$child" ;; esac
    done
}
has_worker_other_than() { [ -n "$(worker_of "$1")" ] && [ "$(worker_of "$1")" != "$2" ]; }
is_gone() { [ ! -d "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status"; }
is_refused() { case "$(client dns $dns4 $blocked A)" in "nxdomain "*) ;; *) return 1 ;; esac; }
