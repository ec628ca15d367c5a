# What root managers do with a module: install it, start it with the phone, take it away. After the
# installers and boot stages of Magisk, KernelSU and APatch. Sourced by test.sh.
# shellcheck shell=dash

modules=/data/adb/modules
updates=/data/adb/modules_update

# Runs a command with what that manager gives to scripts, and nothing of ours.
as_manager() { # MANAGER COMMAND...
    manager=$1
    shift
    case "$manager" in
    Magisk) set -- MAGISK_VER=28.1 MAGISK_VER_CODE=28100 "$@" ;;
    # These two also say that they are a Magisk, for modules that know no other.
    KernelSU)
        set -- KSU=true KSU_VER=v1.0.5 KSU_VER_CODE=12081 KSU_KERNEL_VER_CODE=12081 \
            MAGISK_VER=25.2 MAGISK_VER_CODE=25200 "$@"
        ;;
    APatch)
        set -- APATCH=true APATCH_VER=11142 APATCH_VER_CODE=11142 KERNELPATCH=true \
            MAGISK_VER=27.0 MAGISK_VER_CODE=27000 "$@"
        ;;
    esac
    env -i PATH=/bin:/system/bin ASH_STANDALONE=1 "$@"
}

# The command, and the folder on root's PATH.
make_manager() { # MANAGER
    rm -rf /data/adb/ksu /data/adb/ap /debug_ramdisk /system/bin/magisk
    case "$1" in
    Magisk)
        commands=/debug_ramdisk
        mkdir -p "$commands"
        cat >/system/bin/magisk <<END
#!/system/bin/sh
[ "\$1" != --path ] || echo $commands
END
        chmod 755 /system/bin/magisk
        ;;
    KernelSU) commands=/data/adb/ksu/bin ;;
    APatch) commands=/data/adb/ap/bin ;;
    esac
    mkdir -p "$commands"
}

# The installer that all three have in common, in a process of its own.
install_zip() { # MANAGER ZIP
    as_manager "$1" ZIPFILE="$2" OUTFD=1 BOOTMODE=true ARCH=arm64 IS64BIT=true API=33 \
        ABI=arm64-v8a ABI32=armeabi-v7a NVBASE=/data/adb TMPDIR=/dev/tmp \
        sh /vm/install.sh
}

# A start of the phone, as far as modules see it.
start_phone() { # MANAGER
    for folder in "$modules"/*; do
        [ -e "$folder/remove" ] || continue
        [ ! -e "$folder/uninstall.sh" ] || as_manager "$1" sh "$folder/uninstall.sh"
        rm -rf "$folder" "${updates:?}/${folder##*/}"
    done
    for folder in "$updates"/*; do
        [ -d "$folder" ] || continue
        rm -rf "${modules:?}/${folder##*/}"
        mv "$folder" "$modules/"
    done
    [ "$1" != Magisk ] || mkdir -p "$commands"
    for folder in "$modules"/*; do
        if [ -e "$folder/disable" ] || [ ! -e "$folder/service.sh" ]; then
            continue
        fi
        as_manager "$1" sh "$folder/service.sh"
    done
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
processes() { grep -ls '^muzzle' /proc/[0-9]*/comm | cut -d / -f 3; }
# A zombie has no command line.
no_processes() {
    for pid in $(processes); do
        [ -z "$(cat "/proc/$pid/cmdline" 2>/dev/null)" ] || return 1
    done
}
