"""`retrieval train`: train a network on your own images."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval import plugins
from retrieval.cli.help import HOW_COMPUTED, HOW_MANY, WHAT
from retrieval.cli.options import (
    Alpha,
    Backbone,
    InputSize,
    Json,
    Minimalistic,
    Pooling,
    Quiet,
    Threads,
    Verbose,
    Weights,
)
from retrieval.cli.printing import put
from retrieval.cli.progress import bar
from retrieval.cli.showing import Html, Opening, demand_showable, show_report
from retrieval.errors import BadInput
from retrieval.types import displayed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from retrieval.training.result import TrainingResult
    from retrieval.training.run import Step


def train(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of images with one subfolder per class.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="MODEL.keras", rich_help_panel=WHAT, help="File to write the network to."),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            rich_help_panel=WHAT,
            help="CSV file with the columns path,label, which takes the place of subfolders.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel=WHAT, help="Continue a training that was stopped.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=WHAT, help="Overwrite an existing network or training.")
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            rich_help_panel=HOW_MANY,
            help="Largest number of passes over the images: 20 by default, 60 with --from-scratch.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", min=8, rich_help_panel=HOW_MANY, help="Number of images per step: 64 by default."),
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            rich_help_panel=HOW_MANY,
            help="Share of the images or classes that is held out to measure on: 0.2 by default.",
        ),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            rich_help_panel=HOW_MANY,
            help="Length of the vectors: by default 256, or fewer if the network has fewer features.",
        ),
    ] = None,
    json_lines: Json = False,
    html: Html = None,
    opening: Opening = False,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch", rich_help_panel=HOW_COMPUTED, help="Start from random numbers, not from trained weights."
        ),
    ] = False,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="arcface|supcon|vicreg",
            rich_help_panel=HOW_COMPUTED,
            help="Loss function: arcface by default; vicreg needs no labels.",
        ),
    ] = None,
    unfreeze: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            rich_help_panel=HOW_COMPUTED,
            help="Share of the layers, from the top, that learn: 0.3 by default, 1 with --from-scratch.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="pictures|classes",
            rich_help_panel=HOW_COMPUTED,
            help="Hold out some pictures of every class (default), or whole classes.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, rich_help_panel=HOW_COMPUTED, help="Seed of everything that is random: 0 by default."
        ),
    ] = None,
    backbone: Backbone = None,
    weights: Weights = None,
    input_size: InputSize = None,
    alpha: Alpha = None,
    minimalistic: Minimalistic = None,
    pooling: Pooling = None,
    threads: Threads = 0,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on your own images, and measure what it gained.

        retrieval train photos --out own.keras
        retrieval train photos --out own.keras --backbone mobilenet_v2 --epochs 10

    The result is a backbone for a new index: retrieval index FOLDER --backbone MODEL.keras --index DIR. You can stop at
    any time with Ctrl-C: the last epoch is kept, and the same command with --resume continues from there.
    """
    demand_showable(html, None, opening=opening)
    plugins.demand("training:Learner")  # before anything is read or looked for
    from retrieval.networks.catalogue import AUTO, RANDOM
    from retrieval.networks.weights import choose
    from retrieval.training.recipe import Recipe

    if from_scratch and weights not in {None, RANDOM}:
        raise BadInput("--from-scratch cannot be used with --weights", hint="leave one of them out")
    chosen, where = choose(
        backbone or AUTO,
        RANDOM if from_scratch else weights,
        input_size=input_size,
        alpha=alpha,
        minimalistic=minimalistic,
        pooling=pooling,
    )
    recipe = Recipe.of(
        chosen,
        where,
        loss=loss,
        dim=dim,
        epochs=epochs,
        unfreeze=unfreeze,
        split=split,
        held_out=held_out,
        batch=batch,
        seed=seed,
    )
    from retrieval.showing import reports
    from retrieval.training import run  # imports numpy and Pillow

    with _progress_bar() as progress:
        found = run.train(
            folder, out, recipe, table=labels, resume=resume, force=force, threads=threads, progress=progress
        )
    show_report(lambda: reports.of_training(found), html, None, opening=opening)
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put(found, fresh=recipe.fresh)


def _put(found: "TrainingResult", *, fresh: bool) -> None:
    """Write a table of the networks before the training and after it, and how to use the new one."""
    put(f"{found.queries} queries among held-out images; {_kept(found, fresh=fresh)}")
    rows = [*found.before, found.after]
    width = max(len(row.name) for row in rows)
    put(f"{'':<{width}}     P@1  95 % interval        mAP  95 % interval")
    for row in rows:
        first, mean = row.measures["p@1"], row.measures["map"]
        columns = f"{first.value:.4f}  {first.low:.4f} to {first.high:.4f}"
        columns += f"   {mean.value:.4f}  {mean.low:.4f} to {mean.high:.4f}"
        put(f"{row.name:<{width}}  {columns}")
    put(found.sentence)
    put(f"use it with: retrieval index FOLDER --backbone {displayed(found.path)} --index DIR")


def _kept(found: "TrainingResult", *, fresh: bool) -> str:
    """Return which epoch is kept. If it is epoch 0, the state before training, also return what that is and why."""
    kept = f"epoch {found.best_epoch} of {found.epochs} is kept"
    if found.best_epoch:
        return kept
    start = "random numbers" if fresh else "whitening head"
    return f"{kept}, the {start} that training begins with: no later epoch was surely better"


@contextmanager
def _progress_bar() -> "Iterator[Callable[[Step], None]]":
    """Yield a function that draws the progress on stderr, or that does nothing if no bar is wanted."""
    with bar("{task.fields[facts]}") as drawn:
        if drawn is None:
            yield lambda _: None
            return
        reading = drawn.add_task("reading", total=None, facts="")
        learning = drawn.add_task("learning", total=None, facts="", visible=False, start=False)

        def show(at: "Step") -> None:
            if at.epoch == 0:  # the pictures are being read
                drawn.update(reading, completed=at.done, total=at.total)
                return
            if not drawn.tasks[1].started:
                drawn.update(reading, visible=False)
                drawn.start_task(learning)
            facts = f"{at.pictures_per_second:.0f} pictures/s  loss {at.loss:.3f}"
            if at.recall is not None:
                facts += f"  recall@1 {at.recall:.3f}"
            done, total = (at.epoch - 1) * at.total + at.done, at.epochs * at.total
            epoch = f"epoch {at.epoch}/{at.epochs}"
            drawn.update(learning, description=epoch, completed=done, total=total, facts=facts, visible=True)

        yield show
