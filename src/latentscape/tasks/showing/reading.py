"""What a classifier reads: how often each class is taken for another, and the examples it is surest about and wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from latentscape.contract import Classifies
from latentscape.errors import DataError
from latentscape.pictures import plots, sheets
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import MAP_POINTS, Stage


def _read(stage: Stage, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, true labels and probabilities N×K of the first n examples that have a label."""
    model = stage.need(Classifies, "it reads no labels; a classifier does")
    xs, ys, ps = [], [], []
    with torch.no_grad():
        for batch in stage.batches(n):
            if batch.y is None:
                raise DataError(f"{stage.images.name} has no labels to compare with")
            known = batch.y >= 0
            xs.append(batch.x[known])
            ys.append(batch.y[known])
            ps.append(model.classify(batch.x[known]).float().softmax(1))
    return torch.cat(xs), torch.cat(ys), torch.cat(ps)


@picture
def confusion(stage: Stage, n: int = 10_000) -> Drawing:
    """How often each class (row) is read as each other one (column)."""
    _, y_N, p_NK = _read(stage, n)
    classes, read_N = p_NK.shape[1], p_NK.argmax(1)
    counts = torch.bincount(y_N * classes + read_N, minlength=classes**2).view(classes, classes)
    wrong = counts.clone().fill_diagonal_(0)
    names = stage.images.label_names
    worst = int(wrong.argmax())
    return Drawing(
        plots.matrix(wrong.numpy(), names, xlabel="read as", ylabel="label"),
        "Confusion",
        f"How many examples of each label are read as another; right readings are left out. Of {stage.said(n)}, "
        f"{int(wrong.sum())} are misread ({float(wrong.sum()) / len(y_N):.2%}), most often "
        f"{names[worst // classes]} as {names[worst % classes]} ({int(wrong.max())} times).",
    )


@picture
def misread(stage: Stage, n: int = 40, among: int = MAP_POINTS) -> Drawing:
    """The images that are read wrongly with the most confidence, under each its label and what is read."""
    stage.need_images()
    x_NX, y_N, p_NK = _read(stage, among)
    sure_N, read_N = p_NK.max(1)
    wrong = (read_N != y_N).nonzero().flatten()
    if not len(wrong):
        raise DataError(f"none of {stage.said(among)} is misread")
    picks = wrong[sure_N[wrong].argsort(descending=True)[:n]]
    names = stage.images.label_names
    told = [f"{names[int(y_N[i])]} → {names[int(read_N[i])]}" for i in picks]
    return Drawing(
        sheets.titled_sheet(stage.unit(x_NX[picks]), told),
        "Misread",
        f"Label → what is read, the surest first; {len(wrong)} of {stage.said(among)} are misread.",
    )
