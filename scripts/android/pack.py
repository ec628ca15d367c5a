"""Packs the module: pack.py PROGRAM OUT.ZIP [UPDATE_URL]

Everything of magisk-module/, the program, the config and the licences, with a SHA-256 sum of each.
The same input gives the same bytes: entries are sorted, and have one time and fixed modes.
Beside the zip come its sum and the update.json that managers ask for a newer version.

With MUZZLE_SIGN_KEY, minisign signs the list of sums and the zip; the public key goes along.
"""

import base64
import getpass
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The zip format knows no earlier time.
EARLIEST = 315532800
SUMS = "SHA256SUMS"


def version_code(version: str) -> int:
    """1.2.3 is 1002003: it grows with the version, and managers compare nothing else."""
    match = re.fullmatch(r"(\d+)\.(\d{1,3})\.(\d{1,3})", version)
    if not match:
        sys.exit(f"pack.py: Cargo.toml has version {version}; the module needs plain 1.2.3")
    major, minor, patch = map(int, match.groups())
    return major * 1_000_000 + minor * 1000 + patch


def module_prop(version: str, url: str | None) -> bytes:
    text = (ROOT / "magisk-module/module.prop").read_text()
    text = text.replace("@version@", f"v{version}")
    text = text.replace("@version_code@", str(version_code(version)))
    if url:
        text += f"updateJson={url}/update.json\n"
    return text.encode()


class Signer:
    """The owner of a secret key of minisign, which does the signing."""

    def __init__(self, key: str) -> None:
        self.key = key
        try:
            encoded = Path(key).read_text().splitlines()[1]
            kdf = base64.b64decode(encoded, validate=True)[2:4]
        except (OSError, UnicodeDecodeError, IndexError, ValueError) as error:
            sys.exit(f"pack.py: MUZZLE_SIGN_KEY {key} is no secret key of minisign: {error}")
        # Asked for once; minisign would ask each time.
        self.password = ""
        if kdf == b"Sc" and sys.stdin.isatty():
            self.password = getpass.getpass(f"Password of {key}: ")
        elif kdf == b"Sc":
            self.password = sys.stdin.readline().rstrip("\n")
        with tempfile.TemporaryDirectory() as folder:
            public = Path(folder, "public")
            self.minisign("-R", "-p", public)
            self.public_key = public.read_bytes()

    def minisign(self, *arguments: str | Path) -> None:
        command = ["minisign", "-q", "-s", self.key, *arguments]
        done = subprocess.run(command, input=f"{self.password}\n", text=True, capture_output=True)
        if done.returncode != 0:
            sys.exit(f"pack.py: {done.stdout}{done.stderr}".rstrip())

    def sign(self, name: str, content: bytes) -> bytes:
        """The signature of a file, with the time of the sources: the same each time."""
        with tempfile.TemporaryDirectory() as folder:
            message, signature = Path(folder, "message"), Path(folder, "signature")
            message.write_bytes(content)
            comment = f"timestamp:{moment()}\tfile:{name}\thashed"
            # -H: of a sum of the file, which old ones do not do of themselves.
            self.minisign("-S", "-H", "-t", comment, "-m", message, "-x", signature)
            return signature.read_bytes()


def moment() -> int:
    return max(int(os.environ.get("SOURCE_DATE_EPOCH", EARLIEST)), EARLIEST)


def files(program: Path, version: str, url: str | None, signer: Signer | None) -> dict[str, bytes]:
    module = ROOT / "magisk-module"
    content = {
        str(path.relative_to(module)): path.read_bytes()
        for path in module.rglob("*")
        if path.is_file()
    }
    content["module.prop"] = module_prop(version, url)
    content["muzzle.toml"] = (ROOT / "config/muzzle.toml").read_bytes()
    content["bin/muzzle"] = program.read_bytes()
    for licence in ("LICENSE", "LICENSE-APACHE", "LICENSE-MIT"):
        content[licence] = (ROOT / licence).read_bytes()
    for name, data in content.items():
        if name != "bin/muzzle" and b"\r" in data:
            sys.exit(f"pack.py: {name} has CR line ends, which Android's shell does not take")
    if signer:
        content["muzzle.pub"] = signer.public_key
    content[SUMS] = "".join(
        f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in sorted(content)
    ).encode()
    if signer:
        content[f"{SUMS}.minisig"] = signer.sign(SUMS, content[SUMS])
    return content


def write_zip(out: Path, content: dict[str, bytes]) -> None:
    time_of_all = time.gmtime(moment())[:6]
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, time_of_all)
            entry.create_system = 3  # Unix, wherever this runs: the modes are meant
            is_program = name.endswith((".sh", "bin/muzzle", "update-binary"))
            entry.external_attr = (0o100755 if is_program else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content[name], compresslevel=9)


def main() -> None:
    program, out = Path(sys.argv[1]), Path(sys.argv[2])
    url = sys.argv[3].rstrip("/") if len(sys.argv) > 3 and sys.argv[3] else None
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    version = cargo["package"]["version"]
    out.parent.mkdir(parents=True, exist_ok=True)
    key = os.environ.get("MUZZLE_SIGN_KEY")
    signer = Signer(key) if key else None
    write_zip(out, files(program, version, url, signer))
    signature = out.with_name(f"{out.name}.minisig")
    if signer:
        signature.write_bytes(signer.sign(out.name, out.read_bytes()))
        print(f"signed by {signer.public_key.decode().splitlines()[-1]}: {signature}")
    else:
        # That of an earlier zip of this name would be wrong.
        signature.unlink(missing_ok=True)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    out.with_name(out.name + ".sha256").write_text(f"{digest}  {out.name}\n")
    base = f"{url}/" if url else ""
    update = {
        "version": f"v{version}",
        "versionCode": version_code(version),
        "zipUrl": f"{base}{out.name}",
        "changelog": f"{base}CHANGELOG.md",
    }
    (out.parent / "update.json").write_text(json.dumps(update, indent=2) + "\n")
    (out.parent / "CHANGELOG.md").write_bytes((ROOT / "CHANGELOG.md").read_bytes())


main()
