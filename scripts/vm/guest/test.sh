#!/bin/busybox sh
# shellcheck shell=dash
# What the arm64 machine checks: one line each, status 0 where all is as promised.
cd /vm || exit 1
# shellcheck source=scripts/vm/guest/lib.sh
. /vm/lib.sh

heading "a phone and its internet"
make_rules
if ! make_network; then
    fail "the machine's network" "its servers do not answer"
    exit 1
fi
cat >/data/system/packages.list <<'END'
com.android.chrome 10104 0 /data/user/0/com.android.chrome default:targetSdkVersion=33 3003 0 1
com.android.browser 10123 0 /data/user/0/com.android.browser platform:targetSdkVersion=29 3003 0 1
END
rules_before="$(saved_rules)"

# shellcheck source=scripts/vm/guest/daemon.sh
. /vm/daemon.sh
# shellcheck source=scripts/vm/guest/faults.sh
. /vm/faults.sh
installer=/vm/install.sh
# shellcheck source=tests/module/manager.sh
. /vm/manager.sh
# shellcheck source=scripts/vm/guest/module.sh
. /vm/module.sh

is "no complaint of the kernel" "$(dmesg | grep -E 'BUG|WARNING|Oops|Call trace')" ""
heading "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
