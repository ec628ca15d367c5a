# shellcheck shell=dash
# What root managers do with a module: install it, start it with the phone, take it away. After the
# installers and boot stages of Magisk, KernelSU and APatch. Sourced by the tests of
# scripts/test-module.sh and scripts/test-vm.sh, which say in $installer where install.sh is.

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
    env -i PATH="$PATH" ASH_STANDALONE=1 "$@"
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
install_zip() { # MANAGER ZIP [VARIABLE=VALUE...]: those are another phone's
    manager=$1
    zip=$2
    shift 2
    as_manager "$manager" ZIPFILE="$zip" OUTFD=1 BOOTMODE=true ARCH=arm64 IS64BIT=true API=33 \
        ABI=arm64-v8a ABI32=armeabi-v7a NVBASE=/data/adb TMPDIR=/dev/tmp "$@" \
        sh "${installer:?}"
}

# What was installed takes the place of what was there.
take_updates() {
    for folder in "$updates"/*; do
        [ -d "$folder" ] || continue
        rm -rf "${modules:?}/${folder##*/}"
        mv "$folder" "$modules/"
    done
}

# A start of the phone, as far as modules see it.
start_phone() { # MANAGER
    for folder in "$modules"/*; do
        [ -e "$folder/remove" ] || continue
        [ ! -e "$folder/uninstall.sh" ] || as_manager "$1" sh "$folder/uninstall.sh"
        rm -rf "$folder" "${updates:?}/${folder##*/}"
    done
    take_updates
    [ "$1" != Magisk ] || mkdir -p "$commands"
    for folder in "$modules"/*; do
        if [ -e "$folder/disable" ] || [ ! -e "$folder/service.sh" ]; then
            continue
        fi
        as_manager "$1" sh "$folder/service.sh"
    done
}

processes() { grep -ls '^muzzle' /proc/[0-9]*/comm | cut -d / -f 3; }
