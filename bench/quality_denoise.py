"""Spec row C9: a run's denoised files beside PCA's and non-local means', all from the same noisy PNG files.

The first test images get Gaussian noise and are written to disk, noisy and clean, as PNG: what leaves [0, 1] is clipped
there, as in any real file. The product then reads the files, cleans them into files, and measures; the files that it
wrote are read back and measured again.

python -m bench.quality_denoise --run RUN --data PATH_OF_MNIST --n 1000 --sigma 0.3
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import latentscape
from latentscape.metrics import reconstruction
from latentscape.tasks.denoising import denoise


def write(place: Path, x_N1HW: Tensor) -> Path:
    """Grey pictures in [0, 1], clipped, as 8-bit PNG files."""
    place.mkdir()
    for i, picture in enumerate((255 * x_N1HW.clamp(0, 1)).round().byte().numpy()[:, 0]):
        Image.fromarray(picture).save(place / f"{i:05d}.png")
    return place


def read(place: Path) -> Tensor:
    """N×1×H×W in [0, 1], in the order of the names."""
    pictures = [np.array(Image.open(p)) for p in sorted(place.glob("*.png"))]
    return torch.from_numpy(np.stack(pictures))[:, None].float() / 255


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--n", type=int, default=1000)
    p.add_argument("--sigma", type=float, default=0.3)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    data = latentscape.load_data(args.data)
    clean = data.examples(data.indices("test")[: args.n], "unit")
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(args.seed))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        noisy, known = write(place / "noisy", clean + args.sigma * noise), write(place / "clean", clean)
        start = time.monotonic()
        answer = denoise(args.run, [noisy], clean=known, out=place / "cleaned")
        seconds = time.monotonic() - start
        written = reconstruction.psnr_db(clean, read(place / "cleaned"))
    for version, figures in answer["versions"].items():
        print(f"{version:36s} PSNR {figures['psnr_db']:.2f} dB   SSIM {figures['ssim']:.3f}   mse {figures['mse']:.4f}")
    print(f"{'the files that were written':36s} PSNR {float(written.mean()):.2f} dB   ({answer['n']:,} files)")
    print(f"{seconds:.0f} s in all, choosing the settings of non-local means included")
    print(json.dumps(answer["versions"]))


if __name__ == "__main__":
    main()
