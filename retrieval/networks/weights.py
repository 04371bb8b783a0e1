"""The places of weights: a given file, the file that an index names, a folder, Keras' cache, or this package."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from retrieval.arguments import text_path
from retrieval.errors import BadInput, WeightsNotFound
from retrieval.networks.catalogue import AUTO, DEFAULT, IMAGENET, MINI, OPTIONS, RANDOM, TOP, Backbone
from retrieval.networks.options import BackboneOptions
from retrieval.pictures import reading
from retrieval.types import displayed

AT_HAND = ("mobilenet_v2", "mobilenet")
"""The backbones that "auto" may choose for a new index if their weights are on this machine, the best first (see the
measurements in README)."""
SHIPPED = Path(__file__).with_name("mini.npz")
"""The weights of `MINI`, made by scripts/train_mini.py."""
TABLE = "imagenet_class_index.json"
"""Keras' table of the classes of ImageNet, number -> (WordNet's id, name): https://keras.io/api/applications/."""
WEIGHTS_FOLDER = "RETRIEVAL_WEIGHTS"
"""Environment variable with a folder of weights."""
REINSTALL = "install retrieval again, or choose another --backbone"


def locate_weights(
    backbone: Backbone,
    given: str | None = None,
    remembered: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Return the first of `all_weights`."""
    return all_weights(backbone, given, remembered, environment)[0]


def all_weights(
    backbone: Backbone,
    given: str | None = None,
    remembered: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[str]:
    """Return all weights that may be the right ones, the likeliest first: absolute paths, `RANDOM` or `IMAGENET`.

    If weights were `given`, these are the only ones. Otherwise the order is: the weights that the index `remembered`,
    the files in the folder that the environment variable RETRIEVAL_WEIGHTS names, and the weights that Keras publishes,
    or for `MINI` the shipped weights. Keras downloads weights only if there are no others. A user's own model has its
    weights inside: its path is `given` or `remembered`. Raises `WeightsNotFound` if a given file, a user's own model or
    the shipped file is missing, and `BadInput` for weights that the backbone cannot have.
    """
    if given in {RANDOM, IMAGENET}:
        return [_named_weights(backbone, str(given))]
    if given is not None:
        return [_given_file(backbone, given)]
    found: list[str] = []
    if remembered == RANDOM or (remembered is not None and _is_file(remembered)):
        found.append(remembered)
    if backbone.is_model:
        if not found:
            raise WeightsNotFound(
                f"the model {remembered} does not exist any more", hint="give its new place with --weights FILE"
            )
        return found
    found += [str(path) for path in _in_folder(backbone, environment) if path.is_file()]
    if not found or backbone.name == MINI or cached(backbone, environment).is_file():
        found.append(_own_weights(backbone))
    return list(dict.fromkeys(found))


def _named_weights(backbone: Backbone, name: str) -> str:
    """Return `RANDOM` or `IMAGENET`; `BadInput` for a backbone that has no such weights."""
    if backbone.is_model:
        raise BadInput(
            "a model of your own (.keras) has its weights inside, so it cannot take others",
            hint="leave out --weights, or give it the path of the .keras file",
        )
    if backbone.name == MINI and name == IMAGENET:
        raise BadInput(
            "the backbone mini has no ImageNet weights", hint="leave out --weights, or choose another --backbone"
        )
    return name


def _given_file(backbone: Backbone, given: str) -> str:
    """Return the absolute path of the weights that were given; `WeightsNotFound` where there is no such file."""
    if os.path.isfile(given):
        return str(Path(given).absolute())
    shown = displayed(given)
    problem = f"{shown} is a folder" if os.path.isdir(given) else f"there is no file {shown}"
    kind = f"{SHIPPED.name} file" if backbone.name == MINI else ".weights.h5, .h5 or .keras file"
    raise WeightsNotFound(problem, hint=f"give a {kind}")


def _is_file(weights: str) -> bool:
    """Return whether `weights` is the absolute path of a file. "imagenet" and "random" never are."""
    return os.path.isabs(weights) and os.path.isfile(weights)


def choose(
    name: str,
    given: str | None,
    *,
    input_size: int | None = None,
    alpha: float | None = None,
    minimalistic: bool | None = None,
    pooling: str | None = None,
) -> tuple[Backbone, str]:
    """Return the backbone of a new index, and its weights as `locate_weights` gives them.

    `AUTO` is the best backbone with weights on this machine (see `at_hand`). If weights were `given`, their suffix
    tells the backbone: `MINI` for .npz, else `DEFAULT`. Raises the errors of `Backbone.choose` and `locate_weights`,
    and `BadInput` for options that only some backbones have, given without the name of a backbone.
    """
    name = text_path(name, "the backbone")
    if name.lower() == AUTO:
        if given is None:
            if alpha is not None or minimalistic is not None:
                raise BadInput(
                    "alpha and minimalistic are options of the MobileNets", hint="name one of them with --backbone"
                )
            return at_hand(input_size=input_size, pooling=pooling)
        name = MINI if Path(given).suffix == SHIPPED.suffix else DEFAULT
    chosen = Backbone.choose(name, input_size=input_size, alpha=alpha, minimalistic=minimalistic, pooling=pooling)
    if chosen.is_model and given is not None:
        raise BadInput(
            "a model of your own (.keras) has its weights inside", hint="give either --backbone or --weights"
        )
    return chosen, locate_weights(chosen, name if chosen.is_model else given)


def at_hand(
    environment: Mapping[str, str] = os.environ, *, input_size: int | None = None, pooling: str | None = None
) -> tuple[Backbone, str]:
    """Return the best backbone with weights on this machine, and its weights: one of `AT_HAND`, else `MINI`."""
    for name in AT_HAND:
        chosen = Backbone.choose(name, input_size=input_size, pooling=pooling)
        path = _on_this_machine(chosen, environment)
        if path is not None:
            return chosen, path
    chosen = Backbone.choose(MINI, input_size=input_size, pooling=pooling)
    return chosen, locate_weights(chosen, environment=environment)


def choose_classifier(
    name: str,
    given: str | None,
    *,
    environment: Mapping[str, str] = os.environ,
    **options: Unpack[BackboneOptions],
) -> tuple[Backbone, str]:
    """Return a backbone with its classifier on top, and its weights as `locate_weights` gives them.

    `AUTO` is the first of `AT_HAND` whose weights with a classifier are on this machine, or `DEFAULT` if weights were
    `given`. Raises the errors of `choose`, and `WeightsNotFound` if `AUTO` finds none.
    """
    name = text_path(name, "the backbone")
    if name.lower() != AUTO or given is not None:
        chosen = Backbone.choose(DEFAULT if name.lower() == AUTO else name, **options).topped()
        return chosen, locate_weights(chosen, given, environment=environment)
    for known in AT_HAND:
        chosen = Backbone.choose(known, **options).topped()
        path = _on_this_machine(chosen, environment)
        if path is not None:
            return chosen, path
    raise WeightsNotFound(
        "no weights with a classifier are on this machine",
        hint=f"name a backbone, and its weights are downloaded: --backbone {DEFAULT}",
    )


def _on_this_machine(backbone: Backbone, environment: Mapping[str, str]) -> str | None:
    """Return a file of weights on this machine, None where there is none.

    A file that is too short for the weights does not count: its download was cut off.
    """
    for path in (*_in_folder(backbone, environment), cached(backbone, environment)):
        if path.is_file() and path.stat().st_size >= backbone.architecture.bytes:
            return str(path)
    return None


def cached(backbone: Backbone, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the path at which Keras caches the weights of `backbone`; there may be no file."""
    return _keras_cache(environment) / backbone.weights_file


def class_table(weights: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the path of `TABLE`, beside a file of weights or in Keras' cache; None where there is none."""
    places = [cached_table(environment)]
    if _is_file(weights):
        places.insert(0, Path(weights).with_name(TABLE))
    return next((path for path in places if path.is_file()), None)


def cached_table(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the path at which Keras caches `TABLE`; there may be no file."""
    return _keras_cache(environment) / TABLE


def class_names(table: Path) -> list[str]:
    """Return the names of the classes by their numbers, such as `golden retriever`; `BadInput` for a broken table."""
    try:
        classes = json.loads(reading.read_regular(table, reading.TABLE))
        entries = [classes[str(number)] for number in range(len(classes))]
        return [str(entry[1]).replace("_", " ") for entry in entries]  # an entry is WordNet's id and the name
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BadInput(
            f"{table} is not a table of class names", hint="delete the file, and Keras downloads it again"
        ) from error


def _keras_cache(environment: Mapping[str, str]) -> Path:
    return Path(os.path.expanduser(environment.get("KERAS_HOME") or "~/.keras"), "models")


def _own_weights(backbone: Backbone) -> str:
    """Return `IMAGENET`, or for `MINI` the shipped file; `WeightsNotFound` if the shipped file is missing."""
    if backbone.name != MINI:
        return IMAGENET
    if not SHIPPED.is_file():
        raise WeightsNotFound("the weights of mini are missing from this installation", hint=REINSTALL)
    return str(SHIPPED)


def _in_folder(backbone: Backbone, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the paths in the folder that `WEIGHTS_FOLDER` names that may be weights of `backbone`."""
    folder = environment.get(WEIGHTS_FOLDER)
    if folder:
        for name in _file_names(backbone):
            yield Path(folder, name).absolute()


def _file_names(backbone: Backbone) -> list[str]:
    """Return the file names that weights of `backbone` may have, the best first.

    The name that Keras uses comes first. A backbone without a classifier prefers files without a classifier, but can
    also use files with one.
    """
    own = backbone.weights_file
    stems = [backbone.name]
    if backbone.alpha is not None:
        small = "_minimalistic" if backbone.minimalistic else ""
        has_defaults = backbone.options == OPTIONS[backbone.architecture.family]
        with_options = f"{backbone.name}{small}_{backbone.alpha}_{backbone.published_size}"
        # The plain name stands for the default options alone.
        stems = [with_options, backbone.name] if has_defaults else [with_options]
    without_top = ("_no_top.weights.h5", "_notop.weights.h5", "_no_top.h5", "_notop.h5")
    with_or_without_top = (".weights.h5", ".h5")
    with_top = ("_with_top.weights.h5", "_with_top.h5")
    if backbone.has_top:
        return [own, *_combined(stems, with_top), *_combined(stems, with_or_without_top)]
    own_with_top = replace(backbone, pooling=TOP).weights_file
    return [own, *_combined(stems, without_top), *_combined(stems, with_or_without_top + with_top), own_with_top]


def _combined(stems: list[str], endings: tuple[str, ...]) -> list[str]:
    return [stem + ending for stem in stems for ending in endings]
