"""Where the weights of a backbone are: given, remembered, in a folder, in Keras' cache, or with this package."""

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
"""What is taken for a new index if its weights are on the machine: the best first, as measured in README."""
SHIPPED = Path(__file__).with_name("mini.npz")
"""The weights of `MINI`, made by scripts/train_mini.py."""
TABLE = "imagenet_class_index.json"
"""Keras' table of the classes of ImageNet, number -> (WordNet's id, name): https://keras.io/api/applications/."""
REINSTALL = "install retrieval again, or take another --backbone"


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
    """Return what may be the weights to use, likeliest first, each an absolute path, `RANDOM` or `IMAGENET`.

    In this order: what was `given`, and then nothing else; what the index `remembered`, files in the folder that
    RETRIEVAL_WEIGHTS names, Keras' own; for `MINI`, what ships. Keras' are downloaded only where there is nothing else.
    An own model is its own weights: its path is what is given or remembered. `WeightsNotFound` where a file that was
    given is missing, or an own model's, or what should have been shipped.
    """
    if given in {RANDOM, IMAGENET}:
        if backbone.is_model:
            raise BadInput("a model of your own has its own weights", hint="give its .keras file")
        if backbone.name == MINI and given == IMAGENET:
            raise BadInput("mini knows no ImageNet", hint="leave its weights away, or take another --backbone")
        return [str(given)]
    if given is not None:
        if not os.path.isfile(given):
            kinds = SHIPPED.name if backbone.name == MINI else ".weights.h5, .h5 or .keras file"
            shown = displayed(given)
            what = f"{shown} is a folder" if os.path.isdir(given) else f"there is no file {shown}"
            raise WeightsNotFound(what, hint=f"give a {kinds}")
        return [str(Path(given).absolute())]
    found = [remembered] if remembered == RANDOM or (remembered and _is_file(remembered)) else []
    if backbone.is_model:
        if not found:
            sentence = f"the model {remembered} is not there any more"
            raise WeightsNotFound(sentence, hint="give its new place with --weights FILE")
        return found
    found += [str(path) for path in _in_folder(backbone, environment) if path.is_file()]
    if not found or backbone.name == MINI or cached(backbone, environment).is_file():
        found.append(_own(backbone))
    return list(dict.fromkeys(found))


def _is_file(weights: str) -> bool:
    """Tell whether weights are a file: `imagenet` is none, whatever lies in the working folder."""
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

    `AUTO` is what is at hand, of weights that are given what they are of. Raises what `Backbone.choose` and
    `locate_weights` raise, and `BadInput` for options of a backbone that was not named.
    """
    name = text_path(name, "the backbone")
    if name.lower() == AUTO:
        if given is None:
            if alpha is not None or minimalistic is not None:
                raise BadInput("alpha and minimalistic belong to MobileNets", hint="say which one with --backbone")
            return at_hand(input_size=input_size, pooling=pooling)
        name = MINI if Path(given).suffix == SHIPPED.suffix else DEFAULT
    chosen = Backbone.choose(name, input_size=input_size, alpha=alpha, minimalistic=minimalistic, pooling=pooling)
    if chosen.is_model and given is not None:
        raise BadInput("a model of your own has its weights inside", hint="give either --backbone or --weights")
    return chosen, locate_weights(chosen, name if chosen.is_model else given)


def at_hand(
    environment: Mapping[str, str] = os.environ, *, input_size: int | None = None, pooling: str | None = None
) -> tuple[Backbone, str]:
    """Return the backbone of a new index, and its weights: the first of `AT_HAND` that has some here, else `MINI`."""
    for name in AT_HAND:
        chosen = Backbone.choose(name, input_size=input_size, pooling=pooling)
        if (path := _here(chosen, environment)) is not None:
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

    `AUTO` is the first of `AT_HAND` that has such weights on this machine, and of weights that are given what they are
    of. Raises what `choose` raises, and `WeightsNotFound` where `AUTO` finds none.
    """
    name = text_path(name, "the backbone")
    if name.lower() != AUTO or given is not None:
        chosen = Backbone.choose(DEFAULT if name.lower() == AUTO else name, **options).topped()
        return chosen, locate_weights(chosen, given, environment=environment)
    for known in AT_HAND:
        chosen = Backbone.choose(known, **options).topped()
        if (path := _here(chosen, environment)) is not None:
            return chosen, path
    raise WeightsNotFound(
        "no network that tells classes is on this machine",
        hint=f"name one, and it is downloaded: --backbone {DEFAULT}",
    )


def _here(backbone: Backbone, environment: Mapping[str, str]) -> str | None:
    """Return a file of weights that is on this machine; one that a download left too short is none."""
    for path in (*_in_folder(backbone, environment), cached(backbone, environment)):
        if path.is_file() and path.stat().st_size >= backbone.architecture.bytes:
            return str(path)
    return None


def cached(backbone: Backbone, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where Keras' cache has the weights of `backbone`, if it has them."""
    return _cache(environment) / backbone.weights_file


def class_table(weights: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return where `TABLE` is: beside a file of weights, or in Keras' cache; None where it is in neither."""
    beside = [Path(weights).with_name(TABLE)] if _is_file(weights) else []
    places = (*beside, cached_table(environment))
    return next((path for path in places if path.is_file()), None)


def cached_table(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where Keras' cache has `TABLE`, if it has it."""
    return _cache(environment) / TABLE


def class_names(table: Path) -> list[str]:
    """Return the names of the classes in their order, as `golden retriever`; `BadInput` for a broken table."""
    try:
        listed = json.loads(reading.read_regular(table, reading.TABLE))
        return [str(listed[str(number)][1]).replace("_", " ") for number in range(len(listed))]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BadInput(f"{table} is no table of classes", hint="delete it, and Keras downloads it again") from error


def _cache(environment: Mapping[str, str]) -> Path:
    return Path(os.path.expanduser(environment.get("KERAS_HOME") or "~/.keras"), "models")


def _own(backbone: Backbone) -> str:
    if backbone.name != MINI:
        return IMAGENET
    if not SHIPPED.is_file():
        raise WeightsNotFound("the weights of mini are missing from this installation", hint=REINSTALL)
    return str(SHIPPED)


def _in_folder(backbone: Backbone, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield where the folder that RETRIEVAL_WEIGHTS names may have weights, if there is one."""
    if folder := environment.get("RETRIEVAL_WEIGHTS"):
        yield from (Path(folder, name).absolute() for name in _file_names(backbone))


def _file_names(backbone: Backbone) -> list[str]:
    """Return the names under which a folder of weights may hold those of `backbone`: without a classifier first."""
    own = backbone.weights_file
    tags = [backbone.name]
    if backbone.alpha is not None:
        small = "_minimalistic" if backbone.minimalistic else ""
        plain = tags if backbone.options == OPTIONS[backbone.architecture.family] else []
        tags = [f"{backbone.name}{small}_{backbone.alpha}_{backbone.published_size}", *plain]
    bare = ("_no_top.weights.h5", "_notop.weights.h5", "_no_top.h5", "_notop.h5")
    either = (".weights.h5", ".h5")
    whole = ("_with_top.weights.h5", "_with_top.h5")
    if backbone.has_top:
        return [own, *(tag + end for ends in (whole, either) for tag in tags for end in ends)]
    ends = (bare, (*either, *whole))
    return [
        own,
        *(tag + end for some in ends for tag in tags for end in some),
        replace(backbone, pooling=TOP).weights_file,
    ]
