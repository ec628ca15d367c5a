"""Checks the zips of scripts/test-module.sh from outside, and makes broken ones: zips.py FOLDER"""

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

work = Path(sys.argv[1])
version = tomllib.loads(Path("Cargo.toml").read_text())["package"]["version"]
name = f"muzzle-v{version}-test.zip"
good = work / "dist" / name


def check(what: str, wanted: object, found: object) -> None:
    if wanted != found:
        sys.exit(f"FAILED: {what} is {found!r}, must be {wanted!r}")


def prop(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("module.prop").decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


digest = hashlib.sha256(good.read_bytes()).hexdigest()
check("the .sha256", f"{digest}  {name}\n", (work / "dist" / f"{name}.sha256").read_text())
once, again = (hashlib.sha256((work / it / name).read_bytes()) for it in ("once", "again"))
check("the sum of a second zip", once.hexdigest(), again.hexdigest())

major, minor, patch = (int(part) for part in version.split("."))
code = major * 1_000_000 + minor * 1000 + patch
plain, served = prop(good), prop(work / "served" / name)
for it in (plain, served):
    check("id", "muzzle", it["id"])
    check("version", f"v{version}", it["version"])
    check("versionCode", str(code), it["versionCode"])
check("updateJson without an address", None, plain.get("updateJson"))
check("updateJson", "https://example.org/muzzle/update.json", served.get("updateJson"))
update = json.loads((work / "served" / "update.json").read_text())
wanted = {
    "version": f"v{version}",
    "versionCode": code,
    "zipUrl": f"https://example.org/muzzle/{name}",
    "changelog": "https://example.org/muzzle/CHANGELOG.md",
}
check("update.json", wanted, update)
with zipfile.ZipFile(good) as archive:
    marker = archive.read("META-INF/com/google/android/updater-script")
    check("updater-script", b"#MAGISK\n", marker)
    mounted = [it for it in archive.namelist() if it.startswith("system")]
    check("folders that would be mounted", [], mounted)


def stock_accepts(key: Path, file: Path) -> None:
    command = ["minisign", "-V", "-q", "-p", key, "-m", file]
    done = subprocess.run(command, text=True, capture_output=True)
    check(f"what stock minisign says of {file}", (0, ""), (done.returncode, done.stderr))


for maker, folder in (("first", "signed"), ("other", "other"), ("locked", "locked")):
    public, signed = work / f"{maker}.pub", work / folder / name
    stock_accepts(public, signed)
    inside = work / f"{folder}-inside"
    with zipfile.ZipFile(signed) as archive:
        archive.extractall(inside)
    stock_accepts(public, inside / "SHA256SUMS")
    keys = [path.read_text().splitlines()[1] for path in (public, inside / "muzzle.pub")]
    check("the key in the zip", *keys)
for suffix in ("", ".minisig"):
    first, second = ((work / it / f"{name}{suffix}").read_bytes() for it in ("signed", "signed-again"))
    check(f"what is signed a second time{suffix}", first, second)


def variant(to: str, change: dict[str, bytes | None], of: Path = good) -> None:
    with zipfile.ZipFile(of) as old, zipfile.ZipFile(work / "zips" / f"{to}.zip", "w") as new:
        for entry in old.infolist():
            content = change.get(entry.filename, old.read(entry))
            if content is not None:
                new.writestr(entry, content)
        for added in change.keys() - set(old.namelist()):
            new.writestr(added, change[added])


def copy(to: str, of: Path, signature: bytes) -> None:
    shutil.copy(of, work / "zips" / f"{to}.zip")
    (work / "zips" / f"{to}.zip.minisig").write_bytes(signature)


script = b"#!/system/bin/sh\nreboot\n"
variant("good", {})
variant("changed", {"service.sh": script})
variant("missing", {"service.sh": None})
variant("unlisted", {"SHA256SUMS": None})
variant("added", {"post-fs-data.sh": script})

signed, other = work / "signed" / name, work / "other" / name
signatures = {it: it.with_name(f"{name}.minisig").read_bytes() for it in (signed, other)}
copy("signed", signed, signatures[signed])
copy("other", other, signatures[other])
copy("garbled", signed, b"\xff" + signatures[signed])
variant("inside", {}, signed)  # signed inside only
copy("repacked", work / "zips" / "inside.zip", signatures[signed])
with zipfile.ZipFile(signed) as archive:
    sums = archive.read("SHA256SUMS").decode()
    before = hashlib.sha256(archive.read("service.sh")).hexdigest()
sums = sums.replace(before, hashlib.sha256(script).hexdigest())
variant("forged", {"service.sh": script, "SHA256SUMS": sums.encode()}, signed)
half = signed.read_bytes()[: signed.stat().st_size // 2]
(work / "zips" / "half.zip").write_bytes(half)
for maker in ("first", "other"):
    shutil.copy(work / f"{maker}.pub", work / "zips")
