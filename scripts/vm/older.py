"""Makes an older version of the module, for upgrades: older.py ZIP OUT

It has a lower version, another default config, and a file that the newer one does not have.
"""

import hashlib
import re
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as newer:
    content = {entry: newer.read(entry) for entry in newer.namelist()}
prop = content["module.prop"].decode()
prop = re.sub("(?m)^version=.*", "version=v0.0.1", prop)
prop = re.sub("(?m)^versionCode=.*", "versionCode=1", prop)
content["module.prop"] = prop.encode()
content["muzzle.toml"] = b"# Muzzle 0.0.1\n" + content["muzzle.toml"]
content["only-in-older"] = b"\n"
content["SHA256SUMS"] = "".join(
    f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n"
    for name in sorted(content)
    if name != "SHA256SUMS"
).encode()
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED) as older:
    for name, data in content.items():
        older.writestr(name, data)
