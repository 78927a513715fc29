"""Commands for pictures of one's own: denoise, detect."""

from __future__ import annotations

import json
from typing import Any, Literal

from latentscape.cli.parsing import JSON, command_line, first, given, parse, settings_of, words_before_flags
from latentscape.cli.registry import command
from latentscape.cli.terminal import Terminal

SPLIT = (Literal["train", "valid", "test", "all"], "test", "which part of the run's data; other data: all")


@command
def denoise(args: list[str]) -> None:
    """Clean noisy pictures or fill in missing parts, files in and files out: `denoise RUN [PICTURE …]`."""
    from latentscape.tasks.denoising import Noise

    run_path, rest = first(args, "denoise", "RUN")
    pictures, rest = words_before_flags(rest)
    fields = settings_of(Noise)
    options = parse(
        "denoise RUN [PICTURE …]",
        rest,
        {
            "data": (str, "", "add noise to examples of these data; empty: the run's own"),
            "split": SPLIT,
            "n": (int, 10, "how many of them; 0: all"),
            "clean": (str, "", "the folder with the clean pictures, by the same file names: measures the result"),
            "mask": (str, "", "a picture whose bright pixels are missing, or a folder of them: only these are filled"),
            "keep_size": (bool, False, "give pictures back in the size they came in, not the model's"),
            "rivals": (bool, True, "where the clean pictures are known, PCA and non-local means on the same ones"),
            "out": (str, "", "a folder (a PNG for each), X.png (a sheet), X.npy; empty: a sheet in the run's pictures"),
            "json": JSON,
        },
        fields,
    )
    from latentscape.tasks.denoising import denoise as run

    out = run(
        run_path,
        pictures,
        data=options["data"] or None,
        split=options["split"],
        n=options["n"],
        clean=options["clean"] or None,
        mask=options["mask"] or None,
        keep_size=options["keep_size"],
        rivals=options["rivals"],
        out=options["out"] or None,
        command=command_line(),
        console=Terminal(),
        **given(options, fields),
    )
    if options["json"]:
        print(json.dumps(out))
        return
    _tell_unreadable(out)
    if out["size"]:
        Terminal().say(f"Note: {out['size']}.")
    print(f"Wrote {out['n']:,} cleaned to {out['out']}; mean squared change {out['removed_mse']:.5f}")
    for name, figures in out.get("versions", {}).items():
        psnr = f"   PSNR {figures['psnr_db']:.2f} dB" if "psnr_db" in figures else ""
        ssim = f"   SSIM {figures['ssim']:.3f}" if "ssim" in figures else ""
        print(f"  {name:36s} mean squared error {figures['mse']:.5f}{psnr}{ssim}")


@command
def detect(args: list[str]) -> None:
    """Find anomalous pictures with a model trained on normal ones: `detect RUN [PICTURE …]`."""
    from latentscape.tasks.detecting import DENSITIES, SCORES

    run_path, rest = first(args, "detect", "RUN")
    pictures, rest = words_before_flags(rest)
    options = parse(
        "detect RUN [PICTURE …]",
        rest,
        {
            "score": (Literal[("auto", *SCORES)], "auto", "what is high for anomalies; auto: the best that it can"),
            "density": (Literal[DENSITIES], "full", "latent, likelihood: what is fitted to the training latents"),
            "false_alarm_rate": (float, 0.05, "share of normal pictures that may be called anomalous"),
            "calibration": (
                str,
                "",
                "normal pictures, not trained on, that set the threshold; empty: those the run kept",
            ),
            "data": (str, "", "judge examples of these data; empty: the run's own"),
            "split": SPLIT,
            "n": (int, 0, "how many of them; 0: all"),
            "normal": (tuple[str, ...], (), "classes that are normal: says how well others are told from them"),
            "heat_maps": (int, 8, "of so many pictures, the highest scores first; 0: none"),
            "out": (str, "", "X.csv, X.png or a folder for both; empty: the run's pictures"),
            "json": JSON,
        },
    )
    from latentscape.tasks.detecting import detect as run

    out = run(
        run_path,
        pictures,
        score=options["score"],
        density=options["density"],
        false_alarm_rate=options["false_alarm_rate"],
        calibration=options["calibration"] or None,
        data=options["data"] or None,
        split=options["split"],
        n=options["n"],
        normal=options["normal"],
        heat_maps=options["heat_maps"],
        out=options["out"] or None,
        command=command_line(),
        console=Terminal(),
    )
    if options["json"]:
        print(json.dumps(out))
        return
    _tell_unreadable(out)
    _tell_detected(out)


def _tell_detected(out: dict[str, Any]) -> None:
    above = f"{out['score']} above {out['threshold']:.6g} ({out['unit']})"
    print(f"{out['anomalous']:,} of {out['n']:,} are anomalous: {above}")
    print(f"Threshold: {out['false_alarm_rate']:.1%} false alarms asked, set on {out['calibration']}")
    if "auroc" in out:
        print(f"AUROC {out['auroc']:.4f}, average precision {out['average_precision']:.4f}")
    for key, what in (("false_alarms", "False alarms among normal ones"), ("found", "Anomalous ones found")):
        if key in out:
            low, high = out[key]["interval"]
            print(f"{what}: {out[key]['rate']:.2%} of {out[key]['of']:,} (95 % interval {low:.2%} to {high:.2%})")
    print(f"Wrote {out['csv']}" + (f" and {out['heat_maps']}" if out["heat_maps"] else ""))


def _tell_unreadable(out: dict[str, Any]) -> None:
    for file, why in out["unreadable"]:
        Terminal().say(f"Left out: {file}: {why}")
