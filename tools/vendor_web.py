"""Bring onnxruntime-web from npm into the package, where `latentscape export --format web` takes it from.

    python tools/vendor_web.py

Fetches the version below by `npm pack`, compares the archive with its SHA-512, and keeps what one thread with SIMD
needs: the loader, the WebAssembly (xz, as it is six times as large unpacked) and the licences. VERSION.json names the
SHA-256 of each file as it is unpacked. To change the version, change VERSION and INTEGRITY together; npm says the
latter: `npm view onnxruntime-web@VERSION dist.integrity`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NAME = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="

VENDOR = Path(__file__).parents[1] / "src" / "latentscape" / "export" / "static" / "vendor"

LOADER, WASM = "ort.min.mjs", "ort-wasm-simd-threaded.wasm"
"""File names in the package; the WebAssembly of this name runs with one thread too, and then needs no headers."""

NOTICES = ("LICENSE", "ThirdPartyNotices.txt")
"""npm's archive has none of them; Python's package onnxruntime, of the same project, has."""


def main() -> None:
    """Fetch, verify, unpack."""
    with tempfile.TemporaryDirectory() as temporary:
        archive = fetch(Path(temporary))
        check(archive)
        files = unpack(archive)
    files |= {name: (runtime() / name).read_bytes() for name in NOTICES}
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        packed = name.endswith((".wasm", "Notices.txt"))
        path = VENDOR / (f"{name}.xz" if packed else name)
        path.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME) if packed else content)
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    about = {
        "name": NAME,
        "version": VERSION,
        "source": f"https://registry.npmjs.org/{NAME}/-/{NAME}-{VERSION}.tgz",
        "integrity": INTEGRITY,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    (VENDOR / "VERSION.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def fetch(folder: Path) -> Path:
    """The package's archive from npm."""
    subprocess.run(["npm", "pack", f"{NAME}@{VERSION}", "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / f"{NAME}-{VERSION}.tgz"


def check(archive: Path) -> None:
    """Stop unless the archive is the one that was looked at."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        sys.exit(f"{archive.name} has {found}, not {INTEGRITY}: nothing was changed")


def unpack(archive: Path) -> dict[str, bytes]:
    """The two files that run a model; the loader without the name of a source map that is not kept."""
    with tarfile.open(archive) as tar:
        loader = _read(tar, "package/dist/ort.wasm.bundle.min.mjs")
        wasm = _read(tar, f"package/dist/{WASM}")
    return {LOADER: re.sub(rb"\n//# sourceMappingURL=\S+\s*$", b"\n", loader), WASM: wasm}


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        sys.exit(f"the archive holds no {name}")
    return file.read()


def runtime() -> Path:
    """Where Python's onnxruntime lies."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        sys.exit('the licences are taken from the package onnxruntime; run: pip install "latentscape[export]"')
    return Path(spec.origin).parent


if __name__ == "__main__":
    main()
