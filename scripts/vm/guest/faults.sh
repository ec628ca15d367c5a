# What happens to the daemon that daemon.sh has started. Sourced by test.sh.
# shellcheck shell=dash

restarts() { ask status --json | sed -n 's/^ *"restarts": *\([0-9]*\).*/\1/p'; }
unseen() { ask status --json | sed -n 's/^ *"passed_unseen": *\([0-9]*\).*/\1/p' | head -n 1; }
drained() { [ "$(awk '$1 == 6453 { print $3 }' /proc/net/netfilter/nfnetlink_queue)" = 0 ]; }
# passes_soon WHAT: a question is let pass within 5 s, whoever does it
passes_soon() {
    got="$(client dns $dns4 $blocked A)"
    holds "$1: a question is answered (${got% *}) within 5 s" [ "$(millis_of "$got")" -lt 5000 ]
}

heading "the worker is killed"
worker="$(worker_of "$daemon")"
kill -KILL "$worker"
# By the kernel alone, or by the next worker already.
got="$(client dns $dns4 $blocked A)"
holds "a question is answered (${got% *}) within 5 s" [ "$(millis_of "$got")" -lt 5000 ]
soon "another worker takes over" 20 has_worker_other_than "$daemon" "$worker"
soon "it refuses again" 20 is_refused
soon "it is ready again" 20 ask status

heading "the worker is stopped with packets in its queue"
worker="$(worker_of "$daemon")"
kill -STOP "$worker"
got="$(client dns $dns4 $blocked A)"
is "a held question is answered by the resolver" "$got" "$web4 * ms"
holds "within 5 s (it took $(millis_of "$got") ms)" [ "$(millis_of "$got")" -lt 5000 ]
# Further questions show that it is not merely slow.
soon "it refuses again" 20 is_refused
soon "the stopped worker was replaced" 20 has_worker_other_than "$daemon" "$worker"
soon "the new one is ready" 20 ask status
is "status counts two restarts" "$(ask status --json | grep -o '"restarts": *[0-9]*')" '"restarts":*2'

heading "the clock jumps"
real="$(date +%s)"
for moment in 4102444800 86400 "$real"; do
    date -s "@$moment" >/dev/null
    is "refused in $(date +%Y)" "$(client dns $dns4 $blocked A)" "nxdomain * ms"
    is "the rest passes in $(date +%Y)" "$(client dns $dns6 $allowed AAAA)" "$web6 * ms"
done
is "the worker is the same" "$(restarts)" 2

heading "somebody empties the tables"
iptables -w 5 -t raw -F
ip6tables -w 5 -t raw -F
passes_soon "emptied"
ip link set wlan0 mtu 1400 # networks change when tables are rebuilt
soon "the rules come back" 20 has_jump
soon "it refuses again" 20 is_refused

heading "another program holds the lock of the tables for 10 s, and the worker is killed"
flock /run/xtables.lock sleep 10 &
locked=$!
is "refused under the lock" "$(client dns $dns4 $blocked A)" "nxdomain * ms"
kill -KILL "$(worker_of "$daemon")"
passes_soon "killed under the lock"
# iptables -S would wait for the lock.
holds "the rules wait" [ "$(saved_rules)" != "$rules_before" ]
wait "$locked"
soon "it refuses again" 30 is_refused
soon "it is ready again" 20 ask status
is "that was one restart" "$(restarts)" 3

heading "bursts"
for burst in 64 256 512 1024 2048; do
    before="$(unseen)"
    client burst $dns4 $burst
    wait_for 20 drained
    echo "burst of $burst questions: $(($(unseen) - before)) passed unseen"
done
soon "it refuses after them" 20 is_refused
is "it was not taken for stalled" "$(restarts)" 3

heading "both processes are killed at once"
worker="$(worker_of "$daemon")"
kill -STOP "$daemon" "$worker"
kill -KILL "$daemon" "$worker"
wait "$daemon"
# What is asked while it dies may be held and lost with it, and is asked once here.
soon "the worker is gone" 10 is_gone "$worker"
passes_soon "both killed"
holds "the rules stay" has_jump
"$muzzle" --config /data/local/tmp/muzzle.toml daemon --service >>/tmp/daemon.log 2>&1 &
daemon=$!
soon "the next start replaces them" 30 ask status
is "it refuses" "$(client dns $dns4 $blocked A)" "nxdomain * ms"

heading "SIGTERM"
kill -TERM "$daemon"
code=0
wait "$daemon" || code=$?
is "its exit status" "$code" 0
holds "iptables-save and ip6tables-save are as before" no_rules_left
is "of its files the note of this boot is left" "$(ls -A /data/local/tmp/control)" boot
is "traffic passes" "$(client dns $dns4 $blocked A)" "$web4 * ms"
[ "$failed" -eq 0 ] || sed 's/^/  daemon: /' /tmp/daemon.log
