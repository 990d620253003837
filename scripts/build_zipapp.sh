#!/usr/bin/env bash
# Build the launcher as one file for images that know nothing of Trainmaster: `build_zipapp.sh OUTPUT`, then
# `python3 OUTPUT` there. The same sources give the same bytes: names sorted, times and modes fixed, nothing compressed
# (what zlib makes differs between its versions).
set -euo pipefail
output=${1:?usage: build_zipapp.sh OUTPUT}
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../trainer_image" && pwd)
mkdir -p "$(dirname "$output")"
"${PYTHON:-python3}" -I - "$source" "$output" <<'PROGRAM'
import io, sys, zipapp, zipfile
from pathlib import Path

source, output = map(Path, sys.argv[1:])
members = {path.relative_to(source).as_posix(): path.read_bytes() for path in (source / "trainmaster_launcher").glob("*.py")}
members["__main__.py"] = b"from trainmaster_launcher.__main__ import main\n\nmain()\n"
plain = io.BytesIO()
with zipfile.ZipFile(plain, "w") as archive:
    for name in sorted(members):
        member = zipfile.ZipInfo(name)  # its time is the earliest that a zip file can hold
        member.create_system, member.external_attr = 3, 0o644 << 16
        archive.writestr(member, members[name])
plain.seek(0)
zipapp.create_archive(plain, output, interpreter="/usr/bin/env python3")
PROGRAM
chmod 0644 "$output"
