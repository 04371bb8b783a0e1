"""The options of a network that callers give, and the record that checks them."""

from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import BadInput
from retrieval.networks.execution import Execution
from retrieval.networks.imagenet import Classifier
from retrieval.networks.options import RequestedNetwork


def test_what_is_not_given_is_the_default() -> None:
    nothing = RequestedNetwork.of({})
    assert nothing == RequestedNetwork(backbone="auto", weights=None, options={}, execution=Execution())
    nones: Any = dict.fromkeys(("backbone", "weights", "input_size", "alpha", "minimalistic", "pooling"))
    assert RequestedNetwork.of(nones) == nothing


def test_what_is_given_is_kept() -> None:
    requested = RequestedNetwork.of(
        {
            "backbone": "mobilenet",
            "weights": Path("weights.h5"),
            "alpha": 0.5,
            "minimalistic": False,
            "runtime": "keras",
            "threads": 2,
        }
    )
    assert requested.backbone == "mobilenet"
    assert requested.weights == "weights.h5"
    assert requested.options == {"alpha": 0.5, "minimalistic": False}
    assert requested.execution == Execution(runtime="keras", threads=2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"backbone": ""}, "the backbone is empty"),
        ({"weights": 3}, "the path of the weights must be a path, not 3"),
        ({"runtime": "torch"}, "there is no runtime 'torch'"),
        ({"runtime": None}, "runtime must be a string, not None"),
        ({"threads": -1}, "threads must be at least 0, not -1"),
        ({"runtime": "keras", "precision": "f16"}, "a precision can be chosen for OpenVINO only"),
    ],
)
def test_a_wrong_option_is_refused(given: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        RequestedNetwork.of(given)


def test_an_option_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    wrong: Any = {"backbon": "mini"}
    with pytest.raises(TypeError, match="there is no option of a network named 'backbon'"):
        RequestedNetwork.of(wrong)


def test_a_classifier_has_no_pooling() -> None:
    with pytest.raises(BadInput, match="a classifier has no pooling"):
        Classifier(backbone="mobilenet", pooling="max")
