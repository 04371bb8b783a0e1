"""Ways to index the same pictures, compared."""

from pathlib import Path

import pytest

from retrieval import BadInput, UnknownBackbone
from retrieval.measuring.compare import Outcome, Variant, compare, mark_unbeaten, parse_variants
from retrieval.measuring.evaluate import Evaluation, by_folders, of_itself
from retrieval.measuring.metrics import Estimate
from tests.fakes import colour, picture, put


@pytest.mark.parametrize(
    ("text", "variants"),
    [
        ("mini", [Variant("mini", "mini")]),
        ("mini@96, resnet50", [Variant("mini@96", "mini", 96), Variant("resnet50", "resnet50")]),
        (
            "mini@96/PCA64,HNSW32,SQ8,mini/flat",
            [
                Variant("mini@96/PCA64,HNSW32,SQ8", "mini", 96, "PCA64,HNSW32,SQ8"),
                Variant("mini/flat", "mini", None, "flat"),
            ],
        ),
        (
            "mini/flat,MobileNetV2,auto@64",
            [
                Variant("mini/flat", "mini", None, "flat"),
                Variant("MobileNetV2", "MobileNetV2"),
                Variant("auto@64", "auto", 64),
            ],
        ),
        ("own/my.keras@64", [Variant("own/my.keras@64", "own/my.keras", 64)]),
        (
            "mobilenet_v2@160+gem4:expansion/PCA64,HNSW32,VGG16+max:none",
            [
                Variant(
                    "mobilenet_v2@160+gem4:expansion/PCA64,HNSW32",
                    "mobilenet_v2",
                    160,
                    "PCA64,HNSW32",
                    "gem4",
                    "expansion",
                ),
                Variant("VGG16+max:none", "VGG16", pooling="max", ranking="none"),
            ],
        ),
    ],
)
def test_variants_are_parsed(text: str, variants: list[Variant]) -> None:
    assert parse_variants(text) == variants


@pytest.mark.parametrize("text", ["", "mini@", "mini@big", "mini,,mini", "@96", "mini/"])
def test_a_text_that_is_no_variant_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a way to index"):
        parse_variants(text)


def test_variants_that_another_one_beats_are_marked() -> None:
    def outcome(name: str, mean: float, *costs: float) -> Outcome:
        found = Evaluation(1, 1, {"map": Estimate(mean, mean, mean)}, {})
        return Outcome(Variant(name, name), found, *costs, ())

    rows = [
        outcome("fast", 0.5, 200, 100, 5),
        outcome("beaten", 0.5, 199, 100, 5),
        outcome("good", 0.9, 9, 900, 50),
    ]
    twins = [outcome("one", 0.1, 300, 100, 5), outcome("two", 0.1, 300, 100, 5)]
    found = {one.variant.name: one.unbeaten for one in mark_unbeaten(rows + twins)}
    assert list(found) == ["good", "fast", "beaten", "one", "two"]
    assert [name for name, unbeaten in found.items() if not unbeaten] == ["beaten"]


def test_folders_are_indexed_in_each_way(tmp_path: Path) -> None:
    for number in range(12):
        put(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", picture(colour(number)))
    folder, names = tmp_path / "photos", []
    asked = compare(
        folder, parse_variants("mini@64,mini@96/flat"), lambda index: by_folders(index, folder), watching=names.append
    )
    for outcome, size in zip(asked, (64, 96), strict=True):
        assert outcome.variant.input_size == size
        assert (outcome.quality.queries, outcome.quality.images) == (12, 12)
        assert outcome.bytes_per_vector == pytest.approx(4 * 256, rel=0.2)
        assert min(outcome.pictures_per_second, outcome.query_ms) > 0
    assert names == ["mini@64", "mini@96/flat"]
    with pytest.raises(UnknownBackbone):
        next(compare(folder, parse_variants("mini,else"), of_itself, watching=names.append))
    assert len(names) == 2, "what cannot be had is told before the long work"
