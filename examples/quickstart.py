"""From a folder of pictures to a trained model, its measurements and new pictures.

    python examples/quickstart.py [FOLDER]

Without a folder it first writes the embedded handwritten digits into one, so that it runs anywhere without a network.
"""

import sys
from pathlib import Path

import latentscape
from latentscape.pictures import save_images


def digits_as_files(folder: Path) -> Path:
    """1,797 PNG files in one sub-folder per digit, as a person's own pictures might lie."""
    digits = latentscape.load_data("digits")
    assert digits.labels is not None
    for i, name in enumerate(digits.label_names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_images(folder / name, digits.x[digits.labels == i].numpy())
    return folder


folder = Path(sys.argv[1]) if len(sys.argv) > 1 else digits_as_files(Path("pictures"))

# In the README from here …
run = latentscape.train("vae", folder, size="16", latent_dim=8, epochs=5, learning_rate=1e-3)
print(latentscape.evaluate(run.path)["metrics"])  # on pictures that were held out of training
latentscape.sample(run.path, n=100, out="new-pictures.png")
latentscape.reconstruct(run.path, data=folder, n=20, out="originals-and-reconstructions.png")
print(f"Open {run.folder.report_path} in a browser.")
# … to here.
