"""The models as data: every backbone of `keras.applications`, the choice of one, and where its weights are.

No Keras in here: what a backbone is can be said without loading one.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from retrieval.errors import BadInput, UnknownBackbone, WeightsNotFound

DEFAULT = "mobilenet_v2"
IMAGENET = "imagenet"
"""In place of a file of weights: Keras' own, from its cache or by download."""
RANDOM = "random"
"""In place of a file of weights: numbers from a fixed seed, for tests and timing."""
MODEL = "model"
"""The name of a backbone that is the user's own `.keras` file."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a family wants its pixels: RGB 0-255, reversed to BGR if `flip`, times `scale`, plus `offset`, channel by channel."""

    flip: bool
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


# The constants are those of keras/src/applications/imagenet_utils.py, function `_preprocess_numpy_input`.
CAFFE = Scaling(flip=True, scale=(1.0, 1.0, 1.0), offset=(-103.939, -116.779, -123.68))
TF = Scaling(flip=False, scale=(1 / 127.5,) * 3, offset=(-1.0,) * 3)
TORCH = Scaling(
    flip=False,
    scale=(1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
    offset=(-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
)
INSIDE = Scaling(flip=False, scale=(1.0,) * 3, offset=(0.0,) * 3)
"""The network scales by itself."""

SCALINGS: dict[str, Scaling] = {
    "convnext": INSIDE,
    "densenet": TORCH,
    "efficientnet": INSIDE,
    "efficientnet_v2": INSIDE,
    "inception_resnet_v2": TF,
    "inception_v3": TF,
    "mobilenet": TF,
    "mobilenet_v2": TF,
    "mobilenet_v3": INSIDE,
    "nasnet": TF,
    "resnet": CAFFE,
    "resnet_v2": TF,
    "vgg16": CAFFE,
    "vgg19": CAFFE,
    "xception": TF,
}
"""Family (the module in `keras.applications`) -> scaling."""

SMALLEST = {"xception": 71, "inception_v3": 75, "inception_resnet_v2": 75}
"""Family -> least side of its input, 32 for the others, as their builders demand."""

PUBLISHED_SIZES = {"mobilenet": (128, 160, 192, 224), "mobilenet_v2": (96, 128, 160, 192, 224)}
"""Family -> sizes for which Keras has weights of their own; the others have one file for all sizes."""

OPTIONS: dict[str, dict[str, Any]] = {
    "mobilenet": {"alpha": 1.0},
    "mobilenet_v2": {"alpha": 1.0},
    "mobilenet_v3": {"alpha": 1.0, "minimalistic": False},
}
"""Family -> options of its builder that change the network, with their defaults."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One builder of `keras.applications`."""

    name: str
    keras_name: str
    family: str
    """Its module in `keras.applications`."""
    size: int
    """Side of its input in pixels."""
    dim: int
    """Length of its vectors."""
    parameters: int
    """Without the classifier; counted by building it."""
    top1: float
    """Per cent on ImageNet, as https://keras.io/api/applications states it; MobileNetV3's from Keras' mobilenet_v3.py."""
    weights_file: str
    """Keras' file of ImageNet weights without the classifier; in braces what depends on options."""

    @property
    def bytes(self) -> int:
        """Size of the weights: float32, without the classifier."""
        return 4 * self.parameters

    def as_dict(self) -> dict[str, Any]:
        """Return the row of `retrieval backbones --json`."""
        names = ("name", "family", "dim")
        return {name: getattr(self, name) for name in names} | {
            "input_size": self.size,
            "parameters": self.parameters,
            "top1": self.top1,
            "bytes": self.bytes,
        }


_ROWS = tuple(
    Architecture(*row)
    for row in (
        ("xception", "Xception", "xception", 299, 2048, 20_861_480, 79.0, "xception_{tf}_notop.h5"),
        ("vgg16", "VGG16", "vgg16", 224, 512, 14_714_688, 71.3, "vgg16_{tf}_notop.h5"),
        ("vgg19", "VGG19", "vgg19", 224, 512, 20_024_384, 71.3, "vgg19_{tf}_notop.h5"),
        ("resnet50", "ResNet50", "resnet", 224, 2048, 23_587_712, 74.9, "resnet50_{tf}_notop.h5"),
        ("resnet101", "ResNet101", "resnet", 224, 2048, 42_658_176, 76.4, "resnet101_{tf}_notop.h5"),
        ("resnet152", "ResNet152", "resnet", 224, 2048, 58_370_944, 76.6, "resnet152_{tf}_notop.h5"),
        ("resnet50_v2", "ResNet50V2", "resnet_v2", 224, 2048, 23_564_800, 76.0, "resnet50v2_{tf}_notop.h5"),
        ("resnet101_v2", "ResNet101V2", "resnet_v2", 224, 2048, 42_626_560, 77.2, "resnet101v2_{tf}_notop.h5"),
        ("resnet152_v2", "ResNet152V2", "resnet_v2", 224, 2048, 58_331_648, 78.0, "resnet152v2_{tf}_notop.h5"),
        ("inception_v3", "InceptionV3", "inception_v3", 299, 2048, 21_802_784, 77.9, "inception_v3_{tf}_notop.h5"),
        ("inception_resnet_v2", "InceptionResNetV2", "inception_resnet_v2", 299, 1536, 54_336_736, 80.3, "inception_resnet_v2_{tf}_notop.h5"),
        ("mobilenet", "MobileNet", "mobilenet", 224, 1024, 3_228_864, 70.4, "mobilenet_{alpha_text}_{size}_tf_no_top.h5"),
        ("mobilenet_v2", "MobileNetV2", "mobilenet_v2", 224, 1280, 2_257_984, 71.3, "mobilenet_v2_{tf}_{alpha}_{size}_no_top.h5"),
        ("mobilenet_v3_small", "MobileNetV3Small", "mobilenet_v3", 224, 576, 939_120, 68.1, "weights_mobilenet_v3_small{minimalistic}_224_{alpha}_float_no_top_v2.h5"),
        ("mobilenet_v3_large", "MobileNetV3Large", "mobilenet_v3", 224, 960, 2_996_352, 75.6, "weights_mobilenet_v3_large{minimalistic}_224_{alpha}_float_no_top_v2.h5"),
        ("densenet121", "DenseNet121", "densenet", 224, 1024, 7_037_504, 75.0, "densenet121_{tf}_notop.h5"),
        ("densenet169", "DenseNet169", "densenet", 224, 1664, 12_642_880, 76.2, "densenet169_{tf}_notop.h5"),
        ("densenet201", "DenseNet201", "densenet", 224, 1920, 18_321_984, 77.3, "densenet201_{tf}_notop.h5"),
        ("nasnet_mobile", "NASNetMobile", "nasnet", 224, 1056, 4_269_716, 74.4, "nasnet_mobile_no_top.h5"),
        ("nasnet_large", "NASNetLarge", "nasnet", 331, 4032, 84_887_922, 82.5, "nasnet_large_no_top.h5"),
        ("efficientnet_b0", "EfficientNetB0", "efficientnet", 224, 1280, 4_049_571, 77.1, "efficientnetb0_notop.h5"),
        ("efficientnet_b1", "EfficientNetB1", "efficientnet", 240, 1280, 6_575_239, 79.1, "efficientnetb1_notop.h5"),
        ("efficientnet_b2", "EfficientNetB2", "efficientnet", 260, 1408, 7_768_569, 80.1, "efficientnetb2_notop.h5"),
        ("efficientnet_b3", "EfficientNetB3", "efficientnet", 300, 1536, 10_783_535, 81.6, "efficientnetb3_notop.h5"),
        ("efficientnet_b4", "EfficientNetB4", "efficientnet", 380, 1792, 17_673_823, 82.9, "efficientnetb4_notop.h5"),
        ("efficientnet_b5", "EfficientNetB5", "efficientnet", 456, 2048, 28_513_527, 83.6, "efficientnetb5_notop.h5"),
        ("efficientnet_b6", "EfficientNetB6", "efficientnet", 528, 2304, 40_960_143, 84.0, "efficientnetb6_notop.h5"),
        ("efficientnet_b7", "EfficientNetB7", "efficientnet", 600, 2560, 64_097_687, 84.3, "efficientnetb7_notop.h5"),
        ("efficientnet_v2_b0", "EfficientNetV2B0", "efficientnet_v2", 224, 1280, 5_919_312, 78.7, "efficientnetv2-b0_notop.h5"),
        ("efficientnet_v2_b1", "EfficientNetV2B1", "efficientnet_v2", 240, 1280, 6_931_124, 79.8, "efficientnetv2-b1_notop.h5"),
        ("efficientnet_v2_b2", "EfficientNetV2B2", "efficientnet_v2", 260, 1408, 8_769_374, 80.5, "efficientnetv2-b2_notop.h5"),
        ("efficientnet_v2_b3", "EfficientNetV2B3", "efficientnet_v2", 300, 1536, 12_930_622, 82.0, "efficientnetv2-b3_notop.h5"),
        ("efficientnet_v2_s", "EfficientNetV2S", "efficientnet_v2", 384, 1280, 20_331_360, 83.9, "efficientnetv2-s_notop.h5"),
        ("efficientnet_v2_m", "EfficientNetV2M", "efficientnet_v2", 480, 1280, 53_150_388, 85.3, "efficientnetv2-m_notop.h5"),
        ("efficientnet_v2_l", "EfficientNetV2L", "efficientnet_v2", 480, 1280, 117_746_848, 85.7, "efficientnetv2-l_notop.h5"),
        ("convnext_tiny", "ConvNeXtTiny", "convnext", 224, 768, 27_820_128, 81.3, "convnext_tiny_notop.h5"),
        ("convnext_small", "ConvNeXtSmall", "convnext", 224, 768, 49_454_688, 82.3, "convnext_small_notop.h5"),
        ("convnext_base", "ConvNeXtBase", "convnext", 224, 1024, 87_566_464, 85.3, "convnext_base_notop.h5"),
        ("convnext_large", "ConvNeXtLarge", "convnext", 224, 1536, 196_230_336, 86.3, "convnext_large_notop.h5"),
        ("convnext_xlarge", "ConvNeXtXLarge", "convnext", 224, 2048, 348_147_968, 86.7, "convnext_xlarge_notop.h5"),
    )
)  # fmt: skip

ARCHITECTURES: dict[str, Architecture] = {row.name: row for row in _ROWS}
"""Name -> architecture, in the order of Keras' documentation."""

_SPELLINGS = {spelling.replace("_", "").lower(): row for row in _ROWS for spelling in (row.name, row.keras_name)}


def architecture(name: str) -> Architecture:
    """Return the architecture called `name`, in snake case or as Keras spells it; `UnknownBackbone` for any other."""
    found = _SPELLINGS.get(name.replace("_", "").replace("-", "").lower())
    if found is None:
        close = get_close_matches(name.lower(), ARCHITECTURES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise UnknownBackbone(
            f"there is no backbone named {name!r}", hint=hint + "see them all with: retrieval backbones"
        )
    return found


@dataclass(frozen=True, slots=True)
class Backbone:
    """A choice of network: all the settings that change its vectors, but for its weights."""

    name: str
    input_size: tuple[int, int]
    """Height and width in pixels."""
    alpha: float | None = None
    """Width of a MobileNet; None for the families that have no such option."""
    minimalistic: bool | None = None
    """MobileNetV3 without its advanced units; None for the other families."""
    pooling: str = "avg"

    @classmethod
    def choose(
        cls,
        name: str = DEFAULT,
        *,
        input_size: int | None = None,
        alpha: float | None = None,
        minimalistic: bool | None = None,
    ) -> "Backbone":
        """Return the backbone `name`, or the own model that a path ending in `.keras` names, with the options given.

        `UnknownBackbone`, or `BadInput` for an option that its family does not have or a size that it cannot take.
        """
        given = {key: value for key, value in (("alpha", alpha), ("minimalistic", minimalistic)) if value is not None}
        if name.endswith(".keras"):
            if given:
                raise BadInput(f"a model of your own has no option {', '.join(given)}")
            return cls(MODEL, (input_size or 224,) * 2)
        found = architecture(name)
        options = OPTIONS.get(found.family, {})
        if unknown := given.keys() - options.keys():
            raise BadInput(
                f"{found.name} has no option {', '.join(sorted(unknown))}", hint="only MobileNets have alpha"
            )
        size = input_size or found.size
        if size < (least := SMALLEST.get(found.family, 32)):
            raise BadInput(f"{found.name} takes pictures of at least {least} pixels, not {size}")
        return cls(found.name, (size, size), **(options | given))

    @property
    def is_model(self) -> bool:
        """Whether it is the user's own `.keras` file."""
        return self.name == MODEL

    @property
    def architecture(self) -> Architecture:
        """Its builder; not for an own model."""
        return ARCHITECTURES[self.name]

    @property
    def scaling(self) -> Scaling:
        """How it wants its pixels; an own model scales by itself."""
        return INSIDE if self.is_model else SCALINGS[self.architecture.family]

    @property
    def options(self) -> dict[str, Any]:
        """The options of its builder."""
        return (
            {} if self.is_model else {name: getattr(self, name) for name in OPTIONS.get(self.architecture.family, {})}
        )

    @property
    def published_size(self) -> int:
        """Side for which Keras has weights: its own where there are some, else the architecture's."""
        height, width = self.input_size
        sizes = PUBLISHED_SIZES.get(self.architecture.family, ())
        return height if height == width and height in sizes else self.architecture.size

    @property
    def weights_file(self) -> str:
        """Name of Keras' file of weights without the classifier."""
        return self.architecture.weights_file.format(
            tf="weights_tf_dim_ordering_tf_kernels",
            alpha=self.alpha,
            alpha_text="1_0" if self.alpha == 1 else f"{10 * (self.alpha or 0):.1f}".replace(".", "_"),
            size=self.published_size,
            minimalistic="_minimalistic" if self.minimalistic else "",
        )

    def sized(self, input_size: tuple[int, int]) -> "Backbone":
        """Return the same with another input size."""
        return replace(self, input_size=input_size)

    def fingerprint(self, weights: str, decode_rule: int) -> str:
        """Return what two vectors must share to be comparable; `weights` is a digest of the numbers."""
        facts = asdict(self) | {"weights": weights, "decode_rule": decode_rule}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> str:
        """Return it as it is kept in an index."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Backbone":
        """Return what `as_json` wrote."""
        facts = json.loads(text)
        return cls(**facts | {"input_size": tuple(facts["input_size"])})

    def __str__(self) -> str:
        """Its name, and what is not the default of its architecture."""
        if self.is_model:
            return "an own model"
        changed = [
            f"{key} {value}" for key, value in self.options.items() if value != OPTIONS[self.architecture.family][key]
        ]
        if self.input_size != (self.architecture.size,) * 2:
            changed.append(f"{self.input_size[0]}x{self.input_size[1]} pixels")
        return self.name + (f" ({', '.join(changed)})" if changed else "")


def locate_weights(
    backbone: Backbone,
    given: str | None = None,
    remembered: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Return the weights to use: a path, `RANDOM` or `IMAGENET`.

    In this order: what was `given`, what the index `remembered`, a file in the folder that RETRIEVAL_WEIGHTS names, Keras' own.
    `WeightsNotFound` where a file that was given is missing, or an own model's.
    """
    if given is not None and given not in {RANDOM, IMAGENET}:
        if not Path(given).is_file():
            raise WeightsNotFound(
                f"there is no file {given}", hint="give a .weights.h5 or .h5 file, or `random` for trying out"
            )
        return str(Path(given).absolute())
    if given is not None:
        return given
    if remembered in {RANDOM, IMAGENET} or (remembered and Path(remembered).is_file()):
        return str(remembered)
    if backbone.is_model:
        raise WeightsNotFound(
            f"the model {remembered} is not there any more", hint="give its new place with --weights FILE"
        )
    folder = environment.get("RETRIEVAL_WEIGHTS")
    if folder:
        for name in _file_names(backbone):
            if (path := Path(folder, name)).is_file():
                return str(path.absolute())
    return IMAGENET


def _file_names(backbone: Backbone) -> list[str]:
    """Return the names under which a folder of weights may hold those of `backbone`: without a classifier first."""
    own = backbone.weights_file
    whole = own.replace("_notop", "").replace("_no_top_v2", "").replace("_no_top", "")
    tags = [backbone.name]
    if backbone.alpha is not None:
        small = "_minimalistic" if backbone.minimalistic else ""
        plain = [] if backbone.options != OPTIONS[backbone.architecture.family] else tags
        tags = [f"{backbone.name}{small}_{backbone.alpha}_{backbone.published_size}", *plain]
    ends = (
        "_no_top.weights.h5",
        "_notop.weights.h5",
        "_no_top.h5",
        "_notop.h5",
        ".weights.h5",
        ".h5",
        "_with_top.weights.h5",
    )
    return [own, *(tag + end for tag in tags for end in ends), whole]
