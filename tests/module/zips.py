"""Checks the zips of scripts/test-module.sh from outside, and makes broken ones: zips.py FOLDER"""

import hashlib
import json
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
check("a second zip of the same", good.read_bytes(), (work / "again" / name).read_bytes())

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
    check("updater-script", b"#MAGISK\n", archive.read("META-INF/com/google/android/updater-script"))
    check("folders that would be mounted", [], [it for it in archive.namelist() if it.startswith("system")])


def variant(to: str, change: dict[str, bytes | None]) -> None:
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(work / "zips" / f"{to}.zip", "w") as new:
        for entry in old.infolist():
            content = change.get(entry.filename, old.read(entry))
            if content is not None:
                new.writestr(entry, content)


variant("good", {})
variant("changed", {"service.sh": b"#!/system/bin/sh\nreboot\n"})
variant("missing", {"service.sh": None})
