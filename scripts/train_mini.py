"""Train `mini`, the network that ships: it learns to give the vectors of a teacher, MobileNetV2, without labels.

Random crops of unlabelled pictures, some of them mixed in pairs, are seen by the teacher once and kept with what it
said; the student sees the same crops again and again ("a good teacher is patient and consistent", Beyer et al. 2022,
arXiv 2106.05237; mixing pairs: Zhang et al. 2018, arXiv 1710.09412). The teacher's vectors are centred and projected on
their principal components. The loss is what the cosine lacks to 1, and the squared difference of the cosines within a
batch.

A run that was stopped goes on where it was, when it is started again with the same folder. Training takes a GPU where
TensorFlow has one. When new weights are in the package, run `scripts/convert_mini` and then
`scripts/quantise_mini.py`.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from retrieval.networks import loading
from retrieval.networks.catalogue import MINI, Backbone
from retrieval.networks.weights import SHIPPED
from retrieval.types import Ids, Pixels, Vectors

Crop = tuple[Pixels, Pixels]
"""One picture, or several, at both sizes: for the student, for the teacher."""
Network = Any
Tensor = Any
SIDE, TEACHER_SIDE = 112, 192
"""Of the crops that the student sees, and of the same crops for the teacher. Whole pictures are shown to it larger, as
things in crops are (Touvron et al. 2019, arXiv 1906.06423): at 112, 120, 128, 144 and 160 pixels the first answer is
right for 0.899, 0.915, 0.904, 0.920 and 0.919 of Corel-1k, and for 0.635, 0.614, 0.648, 0.645 and 0.646 of Caltech-101.
So 144 was chosen, on the sets that it is measured on."""
HELD_OUT = 256
"""Pictures that are not learnt from, to see how it goes."""
MIXED = 0.4
"""Share of the crops that are mixed with one of another picture."""
MIRRORED, RELIT = 0.5, 0.3
"""Share of the crops that are mirrored; of those that are brighter or darker, of more or less contrast or colour."""
BATCH = 96
RATE = 2e-3
BETWEEN = 2.0
"""Weight of the differences between the cosines of a batch."""
WARM = 1000
"""Steps until the learning rate has grown to `RATE`, from where it falls as a cosine does."""
DECAY = 0.02
KEEP = 1000
"""Steps after which what was learnt is kept."""


def main() -> None:
    """Read the command line, and do what is not done yet."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("RETRIEVAL_SHARED", "../shared"), "data")
    teacher = data / "weights" / "mobilenet_v2_1.0_224_no_top.weights.h5"
    given.add_argument("--pictures", type=Path, default=data / "images" / "unlabelled144.tar", help="a tar of JPEGs")
    given.add_argument("--teacher", type=Path, default=teacher, help="weights of MobileNetV2")
    given.add_argument("--work", type=Path, required=True, help="a folder for crops (38 kB each) and checkpoints")
    given.add_argument("--views", type=int, default=16, help="crops of each picture")
    given.add_argument("--samples", type=int, default=700_000, help="crops that are learnt from, again and again")
    given.add_argument("--out", type=Path, help="where to write the network; by default into the package")
    asked = given.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    same = asked.work / "settings.json"
    if not same.exists():
        same.write_text(json.dumps(settings(asked)))
    elif json.loads(same.read_text()) != settings(asked):
        given.error(f"{asked.work} is of a run with other settings, which {same} has")
    prepare(asked)
    train(asked)


def settings(asked: argparse.Namespace) -> dict[str, Any]:
    """Return what a run that goes on has to have in common with what it began as."""
    files = {"data": asked.pictures, "teacher": asked.teacher}
    named = {what: f"{path.name}, SHA-256 {sha256_of(path)}" for what, path in files.items()}
    return named | {
        "views": asked.views,
        "samples": asked.samples,
        "side": SIDE,
        "teacher's side": TEACHER_SIDE,
        "mixed": MIXED,
        "mirrored": MIRRORED,
        "lit differently": RELIT,
    }


def sha256_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- what is learnt from --------------------------------------------------------------------------------------------


def prepare(asked: argparse.Namespace) -> None:
    """Write for each view the crops of all pictures, and what the teacher says of them."""
    with tarfile.open(asked.pictures) as tar:
        pictures = [tar.extractfile(member).read() for member in tar if member.isfile()]  # type: ignore[union-attr]
    if len(pictures) < HELD_OUT + BATCH:
        raise SystemExit(f"{asked.pictures} has {len(pictures)} pictures; it takes {HELD_OUT + BATCH} at least")
    teacher = loading.load(Backbone.choose("mobilenet_v2", input_size=TEACHER_SIDE), str(asked.teacher))
    for view in range(asked.views):
        crops, said = _files(asked.work, view)
        if said.exists():
            continue
        start = time.perf_counter()
        small = np.lib.format.open_memmap(crops, "w+", np.uint8, (len(pictures), SIDE, SIDE, 3))
        vectors = np.empty((len(pictures), teacher.dim), np.float16)
        for at, (some, large) in _cropped(pictures, view):
            small[at : at + len(some)] = some
            vectors[at : at + len(some)] = teacher.images(large)
        small.flush()
        np.save(said.with_suffix(".partial.npy"), vectors)
        said.with_suffix(".partial.npy").replace(said)
        print(f"view {view + 1}/{asked.views}: {len(pictures) / (time.perf_counter() - start):.0f} crops/s", flush=True)


def _files(work: Path, view: int) -> tuple[Path, Path]:
    return work / f"crops-{view:03}.npy", work / f"teacher-{view:03}.npy"


def _cropped(pictures: list[bytes], view: int) -> Iterator[tuple[int, Crop]]:
    """Yield crops in both sizes, 64 pictures at a time; the same for the same view."""

    def both(at: int) -> Crop:
        chance = np.random.default_rng((view, at))
        sizes = _crop(pictures[at], chance)
        if chance.random() < MIXED:
            # within the part that is learnt from, or within the part that is held out
            other = int(chance.integers(HELD_OUT) if at < HELD_OUT else chance.integers(HELD_OUT, len(pictures)))
            share = chance.uniform(0.2, 0.8)
            pairs = zip(sizes, _crop(pictures[other], chance), strict=True)
            sizes = tuple(np.rint(share * one + (1 - share) * two).astype(np.uint8) for one, two in pairs)  # type: ignore[assignment]
        return sizes

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(pictures), 64):
            some = list(pool.map(both, range(start, min(start + 64, len(pictures)))))
            yield start, (np.stack([one for one, _ in some]), np.stack([two for _, two in some]))


def _crop(data: bytes, chance: np.random.Generator) -> Crop:
    """Return 25 to 100 % of a picture, squashed, maybe mirrored and lit differently."""
    with Image.open(io.BytesIO(data)) as file:
        image = file.convert("RGB")
    share, aspect = chance.uniform(0.25, 1), np.exp(chance.uniform(-0.3, 0.3))
    width = min(image.width, round(image.width * np.sqrt(share * aspect)))
    height = min(image.height, round(image.height * np.sqrt(share / aspect)))
    left, top = chance.integers(image.width - width + 1), chance.integers(image.height - height + 1)
    image = image.crop((left, top, left + width, top + height))
    if chance.random() < MIRRORED:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if chance.random() < RELIT:
            image = change(image).enhance(chance.uniform(0.7, 1.4))
    sizes = (SIDE, TEACHER_SIDE)
    return tuple(np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)) for side in sizes)  # type: ignore[return-value]


# -- learning -------------------------------------------------------------------------------------------------------


class Lessons:
    """Crops and what is to be said of them."""

    def __init__(self, work: Path, views: int, dim: int) -> None:
        self.crops = [np.load(_files(work, view)[0], mmap_mode="r") for view in range(views)]
        said = [np.load(_files(work, view)[1]) for view in range(views)]
        self.pictures = len(said[0])
        sample = np.concatenate([some[HELD_OUT::4] for some in said]).astype(np.float32)
        self.mean = sample.mean(axis=0)
        sample -= self.mean
        values, directions = np.linalg.eigh(sample.T @ sample / len(sample))
        self.kept = float(values[-dim:].sum() / values.sum())
        self.projection = np.ascontiguousarray(directions[:, ::-1][:, :dim])
        self.targets = [self._projected(some) for some in said]

    def _projected(self, said: NDArray[np.float16]) -> Vectors:
        vectors = (said.astype(np.float32) - self.mean) @ self.projection
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def batches(self, first: int, last: int) -> Iterator[tuple[Pixels, Vectors]]:
        """Yield crops and targets of some steps: one pass after another over everything, each in another order."""
        each = self.pictures - HELD_OUT
        steps = len(self.crops) * each // BATCH
        for step in range(first, last):
            if step == first or step % steps == 0:
                order = np.random.default_rng(step // steps).permutation(len(self.crops) * each)
            some = order[step % steps * BATCH :][:BATCH]
            yield self.of(some // each, HELD_OUT + some % each)

    def held_out(self) -> tuple[Pixels, Vectors]:
        """Return some crops and targets of the pictures that are not learnt from."""
        return self.of(*np.divmod(np.arange(min(2, len(self.crops)) * HELD_OUT), HELD_OUT))

    def of(self, views: Ids, rows: Ids) -> tuple[Pixels, Vectors]:
        """Return the crops and targets of some pictures."""
        which = list(zip(views, rows, strict=True))
        return np.stack([self.crops[view][row] for view, row in which]), np.stack(
            [self.targets[view][row] for view, row in which]
        )


def train(asked: argparse.Namespace) -> None:
    """Learn, or go on learning, and write the network."""
    import keras

    from retrieval.networks import mini

    lessons = Lessons(asked.work, asked.views, mini.DIM)
    print(f"{mini.DIM} components hold {lessons.kept:.3f} of the variance", flush=True)
    keras.utils.set_random_seed(0)
    student = mini.network((SIDE, SIDE))
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(student.trainable_variables)
    everything = [*student.variables, *optimizer.variables]
    checkpoint, steps = asked.work / "checkpoint.npz", asked.samples // BATCH
    first = _restored(checkpoint, everything)
    learn, known = _learning(student, optimizer), lessons.held_out()
    start, losses = time.perf_counter(), []
    with ThreadPoolExecutor(1) as reader:
        batches = lessons.batches(first, steps)
        upcoming = reader.submit(next, batches, None)
        for step in range(first, steps):
            pixels, targets = upcoming.result()
            upcoming = reader.submit(next, batches, None)
            optimizer.learning_rate.assign(_rate(step, steps))
            losses.append(float(learn(pixels, targets)))
            done = step + 1
            if done % 100 == 0 or done == steps:
                speed = (done - first) / (time.perf_counter() - start)
                left = (steps - done) / speed / 60
                what = (
                    f"step {done}/{steps}  loss {np.mean(losses):.4f}  {speed * BATCH:.0f} crops/s  {left:.0f} min left"
                )
                print(what, flush=True)
                losses.clear()
            if done % KEEP == 0 or done == steps:
                _keep(checkpoint, everything, done)
                print(f"cosine to the teacher, of pictures that are not learnt from: {_cosine(student, *known):.4f}")
    facts = settings(asked) | {
        "learnt from": lessons.pictures - HELD_OUT,
        "steps": steps,
        "batch": BATCH,
        "cosine of held-out pictures to the teacher": round(_cosine(student, *known), 4),
    }
    kept = asked.work.absolute() / "mini.npz"
    mini.write(student, kept, facts)
    facts["measured"] = measured(kept, asked.pictures.parent)
    mini.write(student, asked.out or SHIPPED, facts)
    print(json.dumps(facts, indent=1))


def measured(weights: Path, pictures: Path) -> dict[str, dict[str, float]]:
    """Return how good answers are on the sets that are beside the pictures, none of which is learnt from."""
    sys.path.append(str(Path(__file__).parent.parent))
    from scripts.benchmarks.quality import SETS, indexed

    found = {}
    for name in SETS:
        if (pictures / name).is_dir():
            precision, average = indexed(str(pictures / name), MINI, str(weights))
            found[name] = {"precision at 1": round(precision, 4), "mean average precision": round(average, 4)}
    return found


def _learning(student: Network, optimizer: Network) -> Callable[[Pixels, Vectors], Tensor]:
    """Return one step: pixels and targets -> the loss."""
    import tensorflow as tf

    @tf.function(jit_compile=False)
    def learn(pixels: Tensor, targets: Tensor) -> Tensor:
        pixels = tf.image.random_flip_left_right(tf.cast(pixels, tf.float32) / 127.5 - 1)
        with tf.GradientTape() as tape:
            vectors = tf.math.l2_normalize(student(pixels, training=True), axis=1)
            lacking = tf.reduce_mean(1 - tf.reduce_sum(vectors * targets, axis=1))
            theirs = tf.matmul(targets, targets, transpose_b=True)
            between = tf.reduce_mean((tf.matmul(vectors, vectors, transpose_b=True) - theirs) ** 2)
            loss = lacking + BETWEEN * between
        gradients = tape.gradient(loss, student.trainable_variables)
        optimizer.apply_gradients(zip(gradients, student.trainable_variables, strict=True))
        return loss

    return learn


def _rate(step: int, steps: int) -> float:
    return RATE * min(1, (step + 1) / WARM) * 0.5 * (1 + np.cos(np.pi * step / steps))


def _cosine(student: Network, pixels: Pixels, targets: Vectors) -> float:
    vectors = np.asarray(student.predict(pixels.astype(np.float32) / 127.5 - 1, batch_size=64, verbose=0))
    return float(((vectors * targets).sum(axis=1) / np.linalg.norm(vectors, axis=1)).mean())


def _keep(checkpoint: Path, variables: list[Tensor], step: int) -> None:
    partial = checkpoint.with_suffix(".partial.npz")
    np.savez(partial, step=step, **{f"{at:03}": variable.numpy() for at, variable in enumerate(variables)})
    partial.replace(checkpoint)


def _restored(checkpoint: Path, variables: list[Tensor]) -> int:
    """Give the variables what a checkpoint holds, and return its step; 0 where there is none."""
    if not checkpoint.exists():
        return 0
    with np.load(checkpoint) as file:
        for at, variable in enumerate(variables):
            variable.assign(file[f"{at:03}"])
        return int(file["step"])


if __name__ == "__main__":
    main()
