# The module's life under each root manager. Sourced by test.sh.
# shellcheck shell=dash

module="$modules/muzzle"
data=/data/adb/muzzle
# A build that is not for Android has its socket in /run and its history in /var/lib.
ln -s $data /run/muzzle
mkdir -p /var/lib
ln -s $data /var/lib/muzzle
in_module() { "$module/bin/muzzle" --config "$data/muzzle.toml" "$@"; }
mode_of() { stat -c %a "$1"; }
version_code() { sed -n 's/^versionCode=//p' "$1"; }
# Everything of the phone that is Muzzle's, but for the modules' own folders.
left_over() {
    find / -xdev -path /proc -prune -o -path /sys -prune -o -path /vm -prune -o \
    -path /data/local -prune -o -path "$module*" -prune -o -path "$updates*" -prune -o \
    -name '*muzzle*' -print
    find /run /tmp /dev -name '*muzzle*'
}
works() { # TEXT: short, since the daemon by itself has been looked at
    is "$1: telemetry, DNS over IPv4" "$(client dns $dns4 $blocked A)" "nxdomain * ms"
    is "$1: telemetry, DNS over IPv6" "$(client dns $dns6 $blocked AAAA)" "nxdomain * ms"
    is "$1: telemetry, TLS over IPv4" "$(client tls $web4 $blocked)" "refused * ms"
    is "$1: telemetry, TLS over IPv6" "$(client tls $web6 $blocked)" "refused * ms"
    is "$1: the rest, DNS over IPv4" "$(client dns $dns4 www.example.com A)" "$web4 * ms"
    is "$1: the rest, TLS over IPv4" "$(client tls $web4 www.example.com)" "answered * ms"
    is "$1: the rest, TLS over IPv6" "$(client tls $web6 www.example.com)" "answered * ms"
}

# The phone is turned off and on.
restart_phone() { # MANAGER
    for pid in $(processes); do
        kill -TERM "$pid" 2>/dev/null
    done
    holds "$1: on the way down its processes end" wait_for 20 no_processes
    holds "$1: on the way down its rules go" no_rules_left
    # Magisk's is in memory.
    [ "$1" != Magisk ] || rm -rf "$commands"
    start_phone "$1"
}
# A zombie has no command line.
no_processes() {
    for pid in $(processes); do
        [ -z "$(cat "/proc/$pid/cmdline" 2>/dev/null)" ] || return 1
    done
}

left_before="$(left_over)"
starts() { # NAME: where it does not, what it says
    if ! wait_for 30 in_module status; then
        fail "$1" "$(in_module status 2>&1)"
        for file in $data/log/daemon.log $data/start.log; do
            [ ! -e "$file" ] || sed 's/^/  daemon: /' "$file"
        done
        return 1
    fi
    pass "$1"
}
shown() { sed -n 's/^description=//p' $module/module.prop; }
shows() { case "$(shown)" in "$1: "*) ;; *) return 1 ;; esac; }

for root in Magisk KernelSU APatch; do
    heading "the module under $root"
    make_manager $root
    said="$(install_zip $root /vm/muzzle.zip 2>&1)"
    is "$root: it is installed" "$?" 0
    echo "$said"
    is "$root: the manager is told by its name" "$said" "*- $root *"
    start_phone $root
    starts "$root: it starts" || break
    works "$root"
    is "$root: the data folder is private" "$(mode_of $data)" 700
    is "$root: the config is private" "$(mode_of $data/muzzle.toml)" 600
    is "$root: the action button" "$(as_manager $root sh $module/action.sh)" \
        "*is protecting*com.android.browser*"
    is "$root: the command is on root's path" "$("$commands/muzzle" --version 2>&1)" "muzzle *"
    soon "$root: the module's description says so" 10 shows protecting

    touch $module/disable
    soon "$root: disabled, its rules go at once" 10 no_rules_left
    is "$root: disabled, all passes" "$(client dns $dns4 $blocked A)" "$web4 * ms"
    soon "$root: disabled, the description says so" 10 shows off
    rm $module/disable
    soon "$root: enabled, it refuses again" 30 is_refused
    starts "$root: enabled, it is ready again" || break
    soon "$root: enabled, the description says so" 10 shows protecting
    is "$root: the installed files are those of the zip" "$(in_module verify)" \
        "$module: whole, not signed*"
    touch $module/remove
    soon "$root: to be removed, its rules go at once" 10 no_rules_left
    is "$root: to be removed, all passes" "$(client dns $dns4 $blocked A)" "$web4 * ms"
    restart_phone $root
    holds "$root: removed, no process is left" no_processes
    holds "$root: removed, no rules are left" no_rules_left
    holds "$root: removed, no module folder is left" [ ! -e $module ]
    is "$root: removed, no file is left" "$(left_over)" "$left_before"
    is "$root: removed, all passes" "$(client dns $dns4 $blocked A)" "$web4 * ms"
done

# Magisk is the last: what comes then goes on from there.
for root in KernelSU APatch Magisk; do
    heading "an upgrade over an older version, under $root"
    make_manager $root
    install_zip $root /vm/older.zip >/dev/null 2>&1
    is "$root: the older version is installed" "$?" 0
    start_phone $root
    starts "$root: it starts"
    sed -i 's/^preset = .*/preset = "strict"/' $data/muzzle.toml
    cat >>$data/muzzle.toml <<END

[[rule]]
name = "news.example.org"
action = "block"
END
    cp $data/muzzle.toml /tmp/config.mine
    said="$(install_zip $root /vm/muzzle.zip 2>&1)"
    is "$root: this version is installed over it" "$?" 0
    is "$root: it says that the config is kept" "$said" "*yours, kept*"
    is "$root: the older one works until the restart" "$(client dns $dns4 $blocked A)" "nxdomain * ms"
    restart_phone $root
    starts "$root: this version starts"
    is "$root: it is this version" "$(version_code $module/module.prop)" "[1-9]??*"
    holds "$root: nothing of the older version is left" [ ! -e $module/only-in-older ]
    holds "$root: the config is the user's" cmp $data/muzzle.toml /tmp/config.mine
    is "$root: the user's rule holds" "$(client dns $dns4 $allowed A)" "nxdomain * ms"
    is "$root: the user's preset holds" "$(in_module status --json)" '*"preset":*"strict"*'
    is "$root: telemetry is refused" "$(client dns $dns6 $blocked A)" "nxdomain * ms"
    before="$(version_code $module/module.prop)"
    said="$(install_zip $root /vm/older.zip 2>&1)"
    is "$root: an older version over this one is refused" "$?" 1
    is "$root: it says that nothing was changed" "$said" "*Nothing was changed*"
    is "$root: this one is still there" "$(version_code $module/module.prop)" "$before"
    [ $root = Magisk ] && break
    touch $module/remove
    restart_phone $root
    is "$root: removed, no file is left" "$(left_over)" "$left_before"
done

heading "the supervisor is killed"
daemon="$(in_module status --json | sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p')"
worker="$(worker_of "$daemon")"
kill -KILL "$daemon"
soon "its rules go" 10 no_rules_left
soon "its worker goes" 10 is_gone "$worker"
is "traffic passes" "$(client dns $dns6 $blocked AAAA)" "$web6 * ms"

heading "removed in that state"
touch $module/remove
restart_phone Magisk
holds "no rules are left" no_rules_left
is "no file is left" "$(left_over)" "$left_before"
