"""The catalogue of backbones, the choice of one, and where its weights are looked for."""

import dataclasses
import hashlib
import json
from pathlib import Path

import keras
import pytest

from retrieval.errors import BadInput, UnknownBackbone, WeightsNotFound
from retrieval.networks import catalogue
from retrieval.networks.catalogue import ARCHITECTURES, IMAGENET, RANDOM, Backbone, architecture
from retrieval.networks.weights import locate_weights

BUILDERS = {name for name in dir(keras.applications) if name[0].isupper()}
OF_KERAS = {name: found for name, found in ARCHITECTURES.items() if name != catalogue.MINI}

# -- the table -------------------------------------------------------------------------------------------------------


def test_the_catalogue_has_every_builder_of_keras_and_no_other() -> None:
    assert {found.keras_name for found in OF_KERAS.values()} == BUILDERS
    assert len(OF_KERAS) == len(BUILDERS) == 40


@pytest.mark.parametrize("name", OF_KERAS)
def test_each_builder_is_in_the_module_of_its_family(name: str) -> None:
    found = ARCHITECTURES[name]
    builder = getattr(keras.applications, found.keras_name)
    assert builder.__module__.rpartition(".")[2] == found.family


def test_every_family_is_in_every_table() -> None:
    families = {found.family for found in ARCHITECTURES.values()}
    assert set(catalogue.SCALINGS) == set(catalogue.WEIGHTS_FILES) == families
    assert set(catalogue.OPTIONS) == set(catalogue.PUBLISHED_ALPHAS) < families
    assert set(catalogue.SMALLEST) | set(catalogue.PUBLISHED_SIZES) < families


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_row_of_the_table_has_these_keys_and_plausible_values(name: str) -> None:
    row = ARCHITECTURES[name].as_dict()
    assert list(row) == ["name", "family", "dim", "input_size", "parameters", "top1", "bytes"]
    assert row["name"] == name
    assert 32 < row["input_size"] <= 600
    assert 250 < row["dim"] < 4096
    if name == catalogue.MINI:
        assert row["top1"] is None
        assert row["bytes"] == 2 * row["parameters"]
    else:
        assert 65 < row["top1"] < 90
        assert row["bytes"] == 4 * row["parameters"]
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize("found", ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def test_both_spellings_are_accepted(found: catalogue.Architecture) -> None:
    for spelling in (found.name, found.keras_name, found.name.upper(), found.name.replace("_", "-")):
        assert architecture(spelling) is found
        assert Backbone.choose(spelling).name == found.name


@pytest.mark.parametrize(
    ("name", "suggestion"), [("mobilenetv4", "mobilenet"), ("efficientnet-b9", "efficientnet_b"), ("vgg", "vgg16")]
)
def test_an_unknown_name_is_refused_and_a_similar_one_suggested(name: str, suggestion: str) -> None:
    with pytest.raises(UnknownBackbone, match=f"no backbone named '{name}'") as raised:
        Backbone.choose(name)
    assert suggestion in raised.value.hint
    assert "retrieval backbones" in raised.value.hint


def test_an_unknown_name_without_a_similar_one_is_refused() -> None:
    with pytest.raises(UnknownBackbone) as raised:
        Backbone.choose("clip")
    assert raised.value.hint == "see all backbones with: retrieval backbones"


# -- choosing a backbone ---------------------------------------------------------------------------------------------


def test_the_default() -> None:
    chosen = Backbone.choose()
    assert (chosen.name, chosen.input_size, chosen.alpha, chosen.minimalistic) == (
        "mobilenet_v2",
        (224, 224),
        1.0,
        None,
    )
    assert str(chosen) == "mobilenet_v2"


def test_only_options_of_the_family_are_accepted() -> None:
    assert Backbone.choose("mobilenet", alpha=0.25).options == {"alpha": 0.25}
    assert Backbone.choose("mobilenet_v3_small").options == {"alpha": 1.0, "minimalistic": False}
    assert Backbone.choose("resnet50").options == {}
    for options in ({"alpha": 0.5}, {"minimalistic": True}):
        for name in ("resnet50", "own.keras"):
            with pytest.raises(BadInput, match="has no option") as raised:
                Backbone.choose(name, **options)
            assert "mobilenet_v3" in raised.value.hint
    with pytest.raises(BadInput, match="mobilenet_v2 has no option minimalistic"):
        Backbone.choose("mobilenet_v2", minimalistic=True)


@pytest.mark.parametrize("alpha", [0, -1, -0.5])
def test_an_alpha_that_makes_no_network_is_refused(alpha: float) -> None:
    with pytest.raises(BadInput, match="alpha must be more than 0"):
        Backbone.choose("mobilenet", alpha=alpha)


@pytest.mark.parametrize("found", OF_KERAS.values(), ids=list(OF_KERAS))
def test_a_size_too_small_is_refused_as_keras_would(found: catalogue.Architecture) -> None:
    least = catalogue.SMALLEST.get(found.family, 32)
    assert Backbone.choose(found.name, input_size=least).input_size == (least, least)
    for size in (least - 1, 1, 0, -224):
        with pytest.raises(BadInput, match=f"at least {least}x{least} pixels, not {size}x{size}"):
            Backbone.choose(found.name, input_size=size)
    with pytest.raises(ValueError, match="at least"):
        getattr(keras.applications, found.keras_name)(
            weights=None, include_top=False, input_shape=(least - 1, least - 1, 3)
        )


def test_a_model_of_ones_own() -> None:
    chosen = Backbone.choose("models/mine.keras", input_size=96)
    assert chosen.is_model
    assert chosen.input_size == (96, 96)
    assert chosen.scaling == catalogue.INSIDE
    assert Backbone.choose("mine.keras").input_size == (224, 224)
    assert str(chosen) == "a model of your own"


def test_options_that_are_not_the_default_are_in_its_name() -> None:
    assert str(Backbone.choose("mobilenet", alpha=0.25, input_size=128)) == "mobilenet (alpha 0.25, 128x128 pixels)"
    assert str(Backbone.choose("resnet50")) == "resnet50"


# -- fingerprint and JSON --------------------------------------------------------------------------------------------


def test_a_fingerprint_never_changes_from_release_to_release() -> None:
    """Otherwise every index would have to be made anew."""
    facts = (
        b'{"alpha": 1.0, "decode_rule": 1, "input_size": [224, 224], "name": "mobilenet_v2", "pooling": "avg", '
        b'"weights": "a digest"}'
    )
    assert Backbone.choose().fingerprint("a digest", 1) == hashlib.sha256(facts).hexdigest()


def test_a_fingerprint_changes_with_everything_that_changes_vectors() -> None:
    base = Backbone("mobilenet_v3_small", (224, 224), 1.0, minimalistic=False)
    others = [
        dataclasses.replace(base, name="mobilenet_v3_large"),
        dataclasses.replace(base, input_size=(224, 225)),
        dataclasses.replace(base, input_size=(225, 224)),
        dataclasses.replace(base, alpha=0.75),
        dataclasses.replace(base, minimalistic=True),
        dataclasses.replace(base, pooling="max"),
    ]
    assert {field.name for field in dataclasses.fields(base)} == {
        *("name", "input_size", "alpha", "minimalistic", "pooling")
    }, "a new field needs a case here"
    prints = [other.fingerprint("digest", 1) for other in (base, *others)]
    prints += [base.fingerprint("another digest", 1), base.fingerprint("digest", 2)]
    assert len(set(prints)) == len(prints)


def test_different_spellings_of_a_pooling_are_equal() -> None:
    prints = {Backbone.choose(pooling=name).fingerprint("digest", 1) for name in ("gem", "gem3", "gem3.0")}
    assert len(prints) == 1
    assert Backbone.choose(pooling="avg") == Backbone.choose()
    assert str(Backbone.choose(pooling="gem4")) == "mobilenet_v2 (gem4 pooling)"
    assert Backbone.from_json(Backbone.choose(pooling="gem").as_json()).gem == 3


@pytest.mark.parametrize("name", ["mean", "gem0", "gem11", "gemm", "gem-1", "", "AVG"])
def test_an_unknown_pooling_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="there is no pooling" if name else "pooling is empty"):
        Backbone.choose(pooling=name)


@pytest.mark.parametrize("name", ["mini", "own.keras"])
def test_a_network_with_its_own_pooling_accepts_no_other(name: str) -> None:
    assert Backbone.choose(name, pooling="avg") == Backbone.choose(name)
    with pytest.raises(BadInput, match=r"the pooling of .* cannot be chosen"):
        Backbone.choose(name, pooling="max")


def test_alpha_1_and_alpha_1_0_are_equal() -> None:
    assert Backbone.choose(alpha=1).fingerprint("digest", 1) == Backbone.choose().fingerprint("digest", 1)
    assert Backbone.choose(alpha=1).weights_file == Backbone.choose().weights_file


@pytest.mark.parametrize(
    "chosen",
    [
        Backbone.choose(),
        Backbone.choose("mobilenet", alpha=0.25, input_size=128),
        Backbone.choose("mobilenet_v3_large", minimalistic=True),
        Backbone.choose("mine.keras").sized((100, 200)),
    ],
)
def test_it_comes_back_from_json(chosen: Backbone) -> None:
    back = Backbone.from_json(chosen.as_json())
    assert back == chosen
    assert back.fingerprint("digest", 1) == chosen.fingerprint("digest", 1)


# -- where the weights are -------------------------------------------------------------------------------------------


def file(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).touch()
    return str(folder / name)


def test_given_weights_come_first(tmp_path: Path) -> None:
    given, remembered = file(tmp_path, "given.weights.h5"), file(tmp_path, "remembered.h5")
    environment = {"RETRIEVAL_WEIGHTS": str(tmp_path)}
    file(tmp_path, Backbone.choose().weights_file)
    for weights in (given, RANDOM, IMAGENET):
        assert locate_weights(Backbone.choose(), weights, remembered, environment) == weights


def test_weights_that_the_index_remembers_come_next_if_they_exist(tmp_path: Path) -> None:
    remembered = file(tmp_path, "remembered.h5")
    environment = {"RETRIEVAL_WEIGHTS": str(tmp_path)}
    official = file(tmp_path, Backbone.choose().weights_file)
    assert locate_weights(Backbone.choose(), None, remembered, environment) == remembered
    assert locate_weights(Backbone.choose(), None, RANDOM, environment) == RANDOM
    Path(remembered).unlink()
    assert locate_weights(Backbone.choose(), None, remembered, environment) == official
    assert locate_weights(Backbone.choose(), None, remembered, {}) == IMAGENET


def test_weights_in_the_folder_are_preferred_to_remembered_keras_weights(tmp_path: Path) -> None:
    official = file(tmp_path, Backbone.choose().weights_file)
    assert locate_weights(Backbone.choose(), None, IMAGENET, {"RETRIEVAL_WEIGHTS": str(tmp_path)}) == official
    assert locate_weights(Backbone.choose(), None, IMAGENET, {}) == IMAGENET


def test_a_file_that_is_given_and_missing_is_an_error(tmp_path: Path) -> None:
    for missing, sentence in ((tmp_path / "no.weights.h5", "there is no file"), (tmp_path, "is a folder")):
        with pytest.raises(WeightsNotFound, match=sentence):
            locate_weights(Backbone.choose(), str(missing), None, {})


def test_a_relative_path_is_remembered_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = file(tmp_path, "a.weights.h5")
    monkeypatch.chdir(tmp_path)
    assert locate_weights(Backbone.choose(), "a.weights.h5", None, {}) == given


def test_keras_own_weights_come_last(tmp_path: Path) -> None:
    assert locate_weights(Backbone.choose(), environment={}) == IMAGENET
    assert locate_weights(Backbone.choose(), environment={"RETRIEVAL_WEIGHTS": str(tmp_path)}) == IMAGENET
    assert locate_weights(Backbone.choose(), environment={"RETRIEVAL_WEIGHTS": str(tmp_path / "no")}) == IMAGENET


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        (Backbone.choose(), "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"),
        (Backbone.choose(), "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"),
        (Backbone.choose(), "mobilenet_v2_1.0_224_no_top.weights.h5"),
        (Backbone.choose(), "mobilenet_v2_1.0_224_with_top.weights.h5"),
        (Backbone.choose(), "mobilenet_v2.weights.h5"),
        (Backbone.choose("mobilenet", alpha=0.25, input_size=128), "mobilenet_0.25_128_no_top.weights.h5"),
        (Backbone.choose("mobilenet", alpha=0.25, input_size=128), "mobilenet_2_5_128_tf_no_top.h5"),
        (Backbone.choose("mobilenet", input_size=200), "mobilenet_1_0_224_tf.h5"),
        (Backbone.choose("mobilenet_v3_small"), "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"),
        (Backbone.choose("mobilenet_v3_small"), "weights_mobilenet_v3_small_224_1.0_float.h5"),
        (
            Backbone.choose("mobilenet_v3_large", minimalistic=True),
            "weights_mobilenet_v3_large_minimalistic_224_1.0_float_no_top_v2.h5",
        ),
        (Backbone.choose("resnet50"), "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        (Backbone.choose("resnet50"), "resnet50_weights_tf_dim_ordering_tf_kernels.h5"),
        (Backbone.choose("resnet50"), "resnet50_no_top.weights.h5"),
        (Backbone.choose("resnet50"), "resnet50.h5"),
        (Backbone.choose("resnet50_v2"), "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        (Backbone.choose("efficientnet_b0"), "efficientnetb0.h5"),
        (Backbone.choose("efficientnet_v2_s"), "efficientnetv2-s_notop.h5"),
        (Backbone.choose("nasnet_mobile"), "nasnet_mobile_no_top.h5"),
        (Backbone.choose("nasnet_mobile"), "nasnet_mobile.h5"),
        (Backbone.choose("convnext_xlarge"), "convnext_xlarge.h5"),
    ],
)
def test_a_folder_of_weights_is_known_by_these_names(tmp_path: Path, chosen: Backbone, name: str) -> None:
    file(tmp_path, "readme.txt")
    path = file(tmp_path, name)
    assert locate_weights(chosen, environment={"RETRIEVAL_WEIGHTS": str(tmp_path)}) == path


def test_a_file_without_the_classifier_is_preferred(tmp_path: Path) -> None:
    names = ["mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5", "mobilenet_v2.h5"]
    names += ["mobilenet_v2_1.0_224_with_top.weights.h5", "mobilenet_v2_no_top.h5"]
    names += ["mobilenet_v2_1.0_224_no_top.weights.h5", Backbone.choose().weights_file]
    for name in names[:3]:
        file(tmp_path, name)
    for name in names[3:]:
        path = file(tmp_path, name)
        assert locate_weights(Backbone.choose(), environment={"RETRIEVAL_WEIGHTS": str(tmp_path)}) == path


def test_the_weights_of_another_alpha_or_size_are_not_taken(tmp_path: Path) -> None:
    file(tmp_path, "mobilenet.weights.h5")
    file(tmp_path, "mobilenet_1.0_224_no_top.weights.h5")
    file(tmp_path, "mobilenet_0.25_128_no_top.weights.h5")
    environment = {"RETRIEVAL_WEIGHTS": str(tmp_path)}
    assert locate_weights(Backbone.choose("mobilenet", alpha=0.5), environment=environment) == IMAGENET
    assert locate_weights(Backbone.choose("mobilenet", alpha=0.25), environment=environment) == IMAGENET


def test_the_weights_of_a_users_own_model_are_its_file(tmp_path: Path) -> None:
    model = file(tmp_path, "mine.keras")
    chosen = Backbone.choose(model)
    environment = {"RETRIEVAL_WEIGHTS": str(tmp_path)}
    assert locate_weights(chosen, model, None, environment) == model
    assert locate_weights(chosen, None, model, environment) == model
    for weights in (RANDOM, IMAGENET):
        with pytest.raises(BadInput, match="has its weights inside"):
            locate_weights(chosen, weights, model, environment)
    Path(model).unlink()
    with pytest.raises(WeightsNotFound, match="does not exist any more") as raised:
        locate_weights(chosen, None, model, environment)
    assert "--weights" in raised.value.hint


@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({"name": "mobilenet", "alpha": 0.25}, True),
        ({"name": "mobilenet", "alpha": 0.35}, False),
        ({"name": "mobilenet_v2", "alpha": 0.35}, True),
        ({"name": "mobilenet_v2", "alpha": 1.4}, True),
        ({"name": "mobilenet_v3_small", "alpha": 0.75}, True),
        ({"name": "mobilenet_v3_small", "alpha": 0.75, "minimalistic": True}, False),
        ({"name": "mobilenet_v3_small", "minimalistic": True}, True),
        ({"name": "resnet50"}, True),
    ],
)
def test_keras_has_weights_for_some_options_only(options: dict[str, object], published: bool) -> None:
    assert Backbone.choose(**options).published is published
