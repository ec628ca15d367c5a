#!/usr/bin/env python3
"""Writes archives for the kernel to unpack as its first file system (cpio, "newc").

  initramfs.py modules TREE OUT           modules of an unpacked kernel package, in load order
  initramfs.py userland TREE OUT          busybox and iptables of unpacked Debian packages
  initramfs.py files OUT SOURCE:TARGET... files, with the mode they have

The kernel takes several archives one after the other, so what never changes is written once. The
format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

import lzma
import re
import stat
import sys
from pathlib import Path

# What Muzzle, its tests and a phone's firewall use. IPv6, namespaces and the console are built in.
MODULES = """
nfnetlink nfnetlink_queue nf_conntrack nf_conntrack_netlink
ip_tables iptable_raw iptable_mangle iptable_nat iptable_filter
ip6_tables ip6table_raw ip6table_mangle ip6table_nat ip6table_filter
xt_NFQUEUE xt_u32 xt_mark xt_connmark xt_conntrack xt_tcpudp xt_CT xt_string xt_owner xt_multiport
xt_connbytes xt_bpf xt_MASQUERADE xt_REDIRECT ipt_REJECT ip6t_REJECT
inet_diag tcp_diag udp_diag veth
""".split()

LIBRARIES = "usr/lib/aarch64-linux-gnu"
NEEDED = """libxtables.so.12 libip4tc.so.2 libip6tc.so.2 libc.so.6 libm.so.6
ld-linux-aarch64.so.1""".split()


class Archive:
    """A cpio archive being written; folders come by themselves."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.count = 0
        self.folders = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._entry("TRAILER!!!", 0)
        self._pad(512)
        self.file.close()

    def _pad(self, size):
        self.file.write(b"\0" * (-self.file.tell() % size))

    def _entry(self, name, mode, content=b"", device=(0, 0)):
        self.count += 1
        path = name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device, device of a node, length of the name, sum
        fields = (self.count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        self.file.write(b"070701" + b"".join(b"%08X" % field for field in fields) + path)
        self._pad(4)
        self.file.write(content)
        self._pad(4)

    def folder(self, name):
        if name not in ("", ".") and name not in self.folders:
            self.folder(str(Path(name).parent))
            self.folders.add(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def add(self, name, content, mode=0o644):
        name = name.strip("/")
        self.folder(str(Path(name).parent))
        self._entry(name, stat.S_IFREG | mode, content)

    def link(self, name, target):
        name = name.strip("/")
        self.folder(str(Path(name).parent))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        self.folder(str(Path(name).parent))
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def module_bytes(path):
    return lzma.open(path).read() if path.suffix == ".xz" else path.read_bytes()


def modules(tree, out):
    folders = [*tree.glob("lib/modules/*"), *tree.glob("usr/lib/modules/*")]
    [folder] = [folder for folder in folders if (folder / "kernel").is_dir()]

    def spelled(name):
        return name.split(".ko")[0].replace("-", "_")

    paths = {spelled(path.name): path for path in folder.glob("kernel/**/*.ko*")}
    built_in = (folder / "modules.builtin").read_text().split()
    built_in = {spelled(line.rsplit("/", 1)[-1]) for line in built_in}
    loaded = {}

    def load(name):
        if name in loaded or name in built_in:
            return
        if name not in paths:
            sys.exit(f"initramfs.py: this kernel has no module {name}")
        content = module_bytes(paths[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends[1].decode().split(",") if depends else []:
            if other:
                load(spelled(other))
        loaded[name] = content

    for name in MODULES:
        load(name)
    with Archive(out) as archive:
        for name, content in loaded.items():
            archive.add(f"lib/modules/{name}.ko", content)
        archive.add("etc/modules", "".join(f"{name}\n" for name in loaded).encode())


def userland(tree, out):
    with Archive(out) as archive:
        for name in "dev proc sys tmp run etc".split():
            archive.folder(name)
        archive.device("dev/console", 5, 1)
        archive.device("dev/null", 1, 3)
        archive.add("bin/busybox", (tree / "bin/busybox").read_bytes(), 0o755)
        archive.link("bin/sh", "busybox")
        # Where Android has them.
        archive.link("system/bin/sh", "/bin/busybox")
        iptables = "usr/sbin/xtables-legacy-multi"
        archive.add(iptables, (tree / iptables).read_bytes(), 0o755)
        for name in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                archive.link(f"system/bin/{name}{suffix}", f"/{iptables}")
        for path in sorted((tree / LIBRARIES / "xtables").glob("*.so")):
            name = f"{LIBRARIES}/xtables/{path.name}"
            if path.is_symlink():
                archive.link(name, str(path.readlink()))
            else:
                archive.add(name, path.read_bytes())
        for name in NEEDED:
            found = [tree / folder / name for folder in (LIBRARIES, "lib/aarch64-linux-gnu")]
            [path] = [path.resolve() for path in found if path.exists()]
            archive.add(f"lib/{name}", path.read_bytes(), 0o755)


def files(out, pairs):
    with Archive(out) as archive:
        for pair in pairs:
            source, target = pair.split(":")
            source = Path(source)
            archive.add(target, source.read_bytes(), source.stat().st_mode & 0o777)


match sys.argv[1:]:
    case ["modules", tree, out]:
        modules(Path(tree), out)
    case ["userland", tree, out]:
        userland(Path(tree), out)
    case ["files", out, *pairs]:
        files(out, pairs)
    case _:
        sys.exit(__doc__)
