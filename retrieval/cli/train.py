"""`retrieval train`: a network that has learnt from one's own pictures."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from retrieval.cli.output import bar, put
from retrieval.errors import BadInput
from retrieval.networks.catalogue import AUTO, RANDOM
from retrieval.networks.weights import choose
from retrieval.training.recipe import EACH, LOSSES, SPLITS, Recipe
from retrieval.types import displayed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from retrieval.training.result import Trained
    from retrieval.training.run import Step


def train(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures, in a subfolder a class.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL.keras", help="Where to write the network.")],
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Classes of path,label in place of subfolders.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin with random numbers instead of trained weights.")
    ] = False,
    loss: Annotated[
        str | None, typer.Option(metavar="|".join(LOSSES), help="What to learn by; vicreg needs no labels.")
    ] = None,
    dim: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Length of the vectors; 256, or what there is.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Passes over the pictures, at most; 20, or 60.")
    ] = None,
    unfreeze: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0, max=1, help="Of the layers, from the top, that learn."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="|".join(SPLITS), help="Hold out pictures of all classes, or whole classes.")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(metavar="SHARE", min=0, max=1, help="How much of them; 0.2.")
    ] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", min=2 * EACH, help="Pictures a step; 64.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="Another draw of all that is random.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a training was stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    json_lines: Json = False,
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
    """Fine-tune a network on the pictures below FOLDER, or train one from scratch, and say what that was worth.

    The result is a backbone: retrieval index FOLDER --backbone MODEL.keras --index DIR. Stop it at any time with
    Ctrl-C: the last epoch is kept, and the same with --resume goes on from it.
    """
    if from_scratch and weights not in {None, RANDOM}:
        raise BadInput("what starts from scratch has no weights", hint="leave --weights or --from-scratch away")
    network: dict[str, Any] = {"input_size": input_size, "alpha": alpha, "minimalistic": minimalistic}
    chosen, where = choose(backbone or AUTO, RANDOM if from_scratch else weights, **network, pooling=pooling)
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
    from retrieval.training import run  # which needs numpy and Pillow

    with _progress_bar() as progress:
        found = run.train(
            folder, out, recipe, table=labels, resume=resume, force=force, threads=threads, progress=progress
        )
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put(found, fresh=recipe.fresh)


def _put(found: "Trained", *, fresh: bool) -> None:
    put(f"{found.queries} queries among pictures that were held out; {_kept(found, fresh=fresh)}")
    rows = [*found.before, found.after]
    width = max(len(one.name) for one in rows)
    put(f"{'':<{width}}     P@1  95 % interval        mAP  95 % interval")
    for one in rows:
        columns = [
            f"{value.value:.4f}  {value.low:.4f} to {value.high:.4f}"
            for value in (one.measures["p@1"], one.measures["map"])
        ]
        put(f"{one.name:<{width}}  {'   '.join(columns)}")
    put(found.sentence)
    put(f"use it with: retrieval index FOLDER --backbone {displayed(found.path)} --index DIR")


def _kept(found: "Trained", *, fresh: bool) -> str:
    kept = f"epoch {found.best_epoch} of {found.epochs} is kept"
    if found.best_epoch:
        return kept
    beginning = "random numbers" if fresh else "whitening head"
    return f"{kept}, the {beginning} that training begins with: no later epoch was surely better"


@contextmanager
def _progress_bar() -> "Iterator[Callable[[Step], None]]":
    """Give a callback that draws on stderr, or does nothing where nobody looks."""
    with bar("{task.fields[facts]}") as drawn:
        if drawn is None:
            yield lambda _: None
            return
        reading = drawn.add_task("reading", total=None, facts="")
        learning = drawn.add_task("learning", total=None, facts="", visible=False, start=False)

        def show(at: "Step") -> None:
            if not at.epoch:
                drawn.update(reading, completed=at.done, total=at.total)
                return
            if not drawn.tasks[1].started:
                drawn.update(reading, visible=False)
                drawn.start_task(learning)
            facts = f"{at.pictures_per_second:.0f} pictures/s  loss {at.loss:.3f}"
            facts += "" if at.recall is None else f"  recall@1 {at.recall:.3f}"
            done, total = (at.epoch - 1) * at.total + at.done, at.epochs * at.total
            what = f"epoch {at.epoch}/{at.epochs}"
            drawn.update(learning, description=what, completed=done, total=total, facts=facts, visible=True)

        yield show
