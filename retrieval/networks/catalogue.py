"""The backbones as data: every network of `keras.applications` and mini, each with its options.

    name and options -Backbone.choose-> Backbone -(with weights, in `loading`)-> Encoder

Nothing here loads Keras or a network.
"""

import hashlib
import json
import math
import os
import re
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any

from retrieval.arguments import MOST, flag, integer, number, text_path, word
from retrieval.errors import BadInput, IndexDamaged, UnknownBackbone
from retrieval.networks import capacity
from retrieval.networks.encoder import MOST_SIDE

DEFAULT = "mobilenet_v2"
"""The backbone that is assumed if weights are given without a backbone."""
AUTO = "auto"
"""In place of a backbone: the backbone of the index, or for a new index the best one with weights on this machine."""
MINI = "mini"
"""The backbone that ships with the package."""
IMAGENET = "imagenet"
"""In place of a file of weights: Keras' own weights, from its cache or by download."""
RANDOM = "random"
"""In place of a file of weights: random numbers from a fixed seed, for tests and timing."""
MODEL = "model"
"""The name of the backbone of a user's own `.keras` file."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a family scales its input, RGB 0-255: to BGR if `flip`, then each channel x to `scale` * x + `offset`."""

    flip: bool
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Means and standard deviations of ImageNet's pixels (0 to 1), R, G, B. These and the following constants come from
Keras: keras/src/applications/imagenet_utils.py, function `_preprocess_numpy_input`."""
CAFFE = Scaling(flip=True, scale=(1.0, 1.0, 1.0), offset=(-103.939, -116.779, -123.68))
TF = Scaling(flip=False, scale=(1 / 127.5,) * 3, offset=(-1.0,) * 3)
TORCH = Scaling(
    flip=False,
    scale=(1 / (255 * DEVIATIONS[0]), 1 / (255 * DEVIATIONS[1]), 1 / (255 * DEVIATIONS[2])),
    offset=(-MEANS[0] / DEVIATIONS[0], -MEANS[1] / DEVIATIONS[1], -MEANS[2] / DEVIATIONS[2]),
)
INSIDE = Scaling(flip=False, scale=(1.0,) * 3, offset=(0.0,) * 3)
"""The network has its scaling inside, and takes RGB 0-255."""

SCALINGS: dict[str, Scaling] = {
    "convnext": INSIDE,
    "densenet": TORCH,
    "efficientnet": INSIDE,
    "efficientnet_v2": INSIDE,
    "inception_resnet_v2": TF,
    "inception_v3": TF,
    "mini": TF,
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
"""Family (the name of its module in `keras.applications`) -> scaling."""

SMALLEST = {"xception": 71, "inception_v3": 75, "inception_resnet_v2": 75}
"""Family -> smallest side of its input that its builder accepts, in pixels; 32 for all other families."""

WEIGHTS_FILES = {
    "convnext": "{name}_notop.h5",
    "densenet": "{name}_{tf}_notop.h5",
    "efficientnet": "{keras_name}_notop.h5",
    "efficientnet_v2": "efficientnetv2-{variant}_notop.h5",
    "inception_resnet_v2": "{name}_{tf}_notop.h5",
    "inception_v3": "{name}_{tf}_notop.h5",
    "mini": "mini.npz",
    "mobilenet": "{name}_{tenths}_{size}_tf_no_top.h5",
    "mobilenet_v2": "{name}_{tf}_{alpha}_{size}_no_top.h5",
    "mobilenet_v3": "weights_{name}{minimalistic}_224_{alpha}_float_no_top_v2.h5",
    "nasnet": "{name}_no_top.h5",
    "resnet": "{name}_{tf}_notop.h5",
    "resnet_v2": "{keras_name}_{tf}_notop.h5",
    "vgg16": "{name}_{tf}_notop.h5",
    "vgg19": "{name}_{tf}_notop.h5",
    "xception": "{name}_{tf}_notop.h5",
}
"""Family -> name of Keras' file of ImageNet weights without the classifier; `Backbone.weights_file` fills the
braces."""

PUBLISHED_SIZES = {"mobilenet": (128, 160, 192, 224), "mobilenet_v2": (96, 128, 160, 192, 224)}
"""Family -> input sizes for which Keras has weights. The other families have one file of weights for all sizes."""

PUBLISHED_ALPHAS = {
    "mobilenet": (0.25, 0.5, 0.75, 1.0),
    "mobilenet_v2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    "mobilenet_v3": (0.75, 1.0),
}
"""Family -> alphas for which Keras has weights. For a minimalistic MobileNetV3, Keras has weights for 1.0 only."""

MOST_ALPHA = 100.0
"""Largest alpha: no machine has the memory for a MobileNet of so many channels."""
MOST_GEM = 10
"""Largest exponent of a generalised mean. With this exponent the mean is nearly the maximum. Larger powers overflow."""

TOP = "top"
"""In place of a pooling: the network keeps its classifier on top. Its vectors then have the square roots of the
probabilities of the classes."""

OPTIONS: dict[str, dict[str, Any]] = {
    "mobilenet": {"alpha": 1.0},
    "mobilenet_v2": {"alpha": 1.0},
    "mobilenet_v3": {"alpha": 1.0, "minimalistic": False},
}
"""Family -> the options of its builder that change the network, with their defaults."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network of `keras.applications`, or mini."""

    name: str
    keras_name: str
    family: str
    """Name of the module in `keras.applications`; "mini" for mini."""
    size: int
    """Side of the usual input, in pixels."""
    dim: int
    """Length of the vectors that the network gives."""
    parameters: int
    """Number of parameters without the classifier, counted on the built network."""
    top1: float | None
    """Accuracy on ImageNet in per cent, as https://keras.io/api/applications states it, or Keras' mobilenet_v3.py for
    the two MobileNetV3. None for mini, which has no classifier."""

    @property
    def bytes(self) -> int:
        """Size of the weights without the classifier, in bytes: float32, but float16 for mini."""
        return (2 if self.name == MINI else 4) * self.parameters

    def as_dict(self) -> dict[str, Any]:
        """Return the row that `retrieval backbones --json` prints."""
        return {
            "name": self.name,
            "family": self.family,
            "dim": self.dim,
            "input_size": self.size,
            "parameters": self.parameters,
            "top1": self.top1,
            "bytes": self.bytes,
        }


_ROWS = (
    Architecture("xception", "Xception", "xception", 299, 2048, 20_861_480, 79.0),
    Architecture("vgg16", "VGG16", "vgg16", 224, 512, 14_714_688, 71.3),
    Architecture("vgg19", "VGG19", "vgg19", 224, 512, 20_024_384, 71.3),
    Architecture("resnet50", "ResNet50", "resnet", 224, 2048, 23_587_712, 74.9),
    Architecture("resnet101", "ResNet101", "resnet", 224, 2048, 42_658_176, 76.4),
    Architecture("resnet152", "ResNet152", "resnet", 224, 2048, 58_370_944, 76.6),
    Architecture("resnet50_v2", "ResNet50V2", "resnet_v2", 224, 2048, 23_564_800, 76.0),
    Architecture("resnet101_v2", "ResNet101V2", "resnet_v2", 224, 2048, 42_626_560, 77.2),
    Architecture("resnet152_v2", "ResNet152V2", "resnet_v2", 224, 2048, 58_331_648, 78.0),
    Architecture("inception_v3", "InceptionV3", "inception_v3", 299, 2048, 21_802_784, 77.9),
    Architecture("inception_resnet_v2", "InceptionResNetV2", "inception_resnet_v2", 299, 1536, 54_336_736, 80.3),
    Architecture("mobilenet", "MobileNet", "mobilenet", 224, 1024, 3_228_864, 70.4),
    Architecture("mobilenet_v2", "MobileNetV2", "mobilenet_v2", 224, 1280, 2_257_984, 71.3),
    Architecture("mobilenet_v3_small", "MobileNetV3Small", "mobilenet_v3", 224, 576, 939_120, 68.1),
    Architecture("mobilenet_v3_large", "MobileNetV3Large", "mobilenet_v3", 224, 960, 2_996_352, 75.6),
    Architecture("densenet121", "DenseNet121", "densenet", 224, 1024, 7_037_504, 75.0),
    Architecture("densenet169", "DenseNet169", "densenet", 224, 1664, 12_642_880, 76.2),
    Architecture("densenet201", "DenseNet201", "densenet", 224, 1920, 18_321_984, 77.3),
    Architecture("nasnet_mobile", "NASNetMobile", "nasnet", 224, 1056, 4_269_716, 74.4),
    Architecture("nasnet_large", "NASNetLarge", "nasnet", 331, 4032, 84_916_818, 82.5),
    Architecture("efficientnet_b0", "EfficientNetB0", "efficientnet", 224, 1280, 4_049_571, 77.1),
    Architecture("efficientnet_b1", "EfficientNetB1", "efficientnet", 240, 1280, 6_575_239, 79.1),
    Architecture("efficientnet_b2", "EfficientNetB2", "efficientnet", 260, 1408, 7_768_569, 80.1),
    Architecture("efficientnet_b3", "EfficientNetB3", "efficientnet", 300, 1536, 10_783_535, 81.6),
    Architecture("efficientnet_b4", "EfficientNetB4", "efficientnet", 380, 1792, 17_673_823, 82.9),
    Architecture("efficientnet_b5", "EfficientNetB5", "efficientnet", 456, 2048, 28_513_527, 83.6),
    Architecture("efficientnet_b6", "EfficientNetB6", "efficientnet", 528, 2304, 40_960_143, 84.0),
    Architecture("efficientnet_b7", "EfficientNetB7", "efficientnet", 600, 2560, 64_097_687, 84.3),
    Architecture("efficientnet_v2_b0", "EfficientNetV2B0", "efficientnet_v2", 224, 1280, 5_919_312, 78.7),
    Architecture("efficientnet_v2_b1", "EfficientNetV2B1", "efficientnet_v2", 240, 1280, 6_931_124, 79.8),
    Architecture("efficientnet_v2_b2", "EfficientNetV2B2", "efficientnet_v2", 260, 1408, 8_769_374, 80.5),
    Architecture("efficientnet_v2_b3", "EfficientNetV2B3", "efficientnet_v2", 300, 1536, 12_930_622, 82.0),
    Architecture("efficientnet_v2_s", "EfficientNetV2S", "efficientnet_v2", 384, 1280, 20_331_360, 83.9),
    Architecture("efficientnet_v2_m", "EfficientNetV2M", "efficientnet_v2", 480, 1280, 53_150_388, 85.3),
    Architecture("efficientnet_v2_l", "EfficientNetV2L", "efficientnet_v2", 480, 1280, 117_746_848, 85.7),
    Architecture("convnext_tiny", "ConvNeXtTiny", "convnext", 224, 768, 27_820_128, 81.3),
    Architecture("convnext_small", "ConvNeXtSmall", "convnext", 224, 768, 49_454_688, 82.3),
    Architecture("convnext_base", "ConvNeXtBase", "convnext", 224, 1024, 87_566_464, 85.3),
    Architecture("convnext_large", "ConvNeXtLarge", "convnext", 224, 1536, 196_230_336, 86.3),
    Architecture("convnext_xlarge", "ConvNeXtXLarge", "convnext", 224, 2048, 348_147_968, 86.7),
    Architecture(MINI, MINI, MINI, 144, 256, 2_144_992, None),
)  # fmt: skip

ARCHITECTURES: dict[str, Architecture] = {row.name: row for row in _ROWS}
"""Name -> architecture, in the order of Keras' documentation, and then mini."""

_SPELLINGS = {spelling.replace("_", "").lower(): row for row in _ROWS for spelling in (row.name, row.keras_name)}
"""Our name and Keras' name of each architecture, in small letters and without underscores -> architecture."""


def architecture(name: str) -> Architecture:
    """Return the architecture called `name`, in snake case or in Keras' spelling; `UnknownBackbone`."""
    found = _SPELLINGS.get(name.replace("_", "").replace("-", "").lower())
    if found is None:
        _refuse_path(name)
        hint = "see all backbones with: retrieval backbones"
        close = get_close_matches(name.lower(), ARCHITECTURES, n=3, cutoff=0.5)
        if close:
            hint = f"did you mean {' or '.join(close)}? {hint}"
        raise UnknownBackbone(f"there is no backbone named {name!r}", hint=hint)
    return found


def _refuse_path(name: str) -> None:
    """Raise `UnknownBackbone` if `name` looks like a path. No file is a backbone, except a `.keras` file."""
    suffix = os.path.splitext(name)[1].lower()
    if not (os.sep in name or re.fullmatch(r"\.[a-z]\w*", suffix) or os.path.exists(name)):
        return
    hint = "a model of your own is one file that ends in .keras; write it with: model.save('name.keras')"
    if suffix == ".keras":
        hint = "rename the file: Keras wants .keras in small letters"
    elif suffix in {".h5", ".hdf5"}:
        hint = f"give weights with --weights FILE and the name of their --backbone; {hint}"
    problem = "is a folder and not a .keras file" if os.path.isdir(name) else "is not the name of a .keras file"
    raise UnknownBackbone(f"{name} {problem}", hint=hint)


def _alpha_in_file_name(alpha: float | None) -> str:
    """Return alpha as Keras writes it in the files of MobileNet: 1_0 for 1, 7_5 for 0.75, 5_0 for 0.5, 2_5 for 0.25."""
    if alpha is None:
        return ""
    if alpha == 1:
        return "1_0"
    return f"{10 * alpha:.1f}".replace(".", "_")


def _with_classifier(weights_file: str) -> str:
    """Return the name of the file of Keras that has these weights and also the classifier."""
    return weights_file.replace("_notop", "").replace("_no_top_v2", "").replace("_no_top", "")


REPAIR = "see what can be saved with: retrieval verify --repair"


def _are_possible(facts: Any) -> bool:  # noqa: ANN401 - any value of JSON
    """Return whether `facts` can be the fields of a `Backbone`."""
    fields = {"name", "input_size", "alpha", "minimalistic", "pooling"}
    if not isinstance(facts, dict) or not facts.keys() <= fields:
        return False
    name, size, alpha = facts.get("name"), facts.get("input_size"), facts.get("alpha")
    is_name = isinstance(name, str) and (name in {MODEL, MINI} or name in ARCHITECTURES)
    return (
        is_name
        and isinstance(size, list)
        and len(size) == 2  # noqa: PLR2004 - height and width
        and all(type(side) is int and 1 <= side <= MOST_SIDE for side in size)
        and (alpha is None or _is_alpha(alpha))
        and (facts.get("minimalistic") is None or isinstance(facts["minimalistic"], bool))
        and re.fullmatch(r"[a-z]{1,10}[0-9.]{0,10}", str(facts.get("pooling", "avg"))) is not None
    )


def _is_alpha(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 < value <= MOST_ALPHA


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone with its options: everything that decides its vectors, except the weights."""

    name: str
    input_size: tuple[int, int]
    """Height and width in pixels."""
    alpha: float | None = None
    """Width of a MobileNet, as a factor of its usual number of channels; None for all other families."""
    minimalistic: bool | None = None
    """Whether a MobileNetV3 does without its advanced units; None for all other families."""
    pooling: str = "avg"
    """How a map of features becomes a vector: "avg", "max", or "gem3" for a generalised mean with the exponent 3. With
    `TOP`, the classifier gives the vector: the square roots of the probabilities of the classes, whose length is 1."""

    @classmethod
    def choose(
        cls,
        name: str = DEFAULT,
        *,
        input_size: int | None = None,
        alpha: float | None = None,
        minimalistic: bool | None = None,
        pooling: str | None = None,
    ) -> "Backbone":
        """Return the backbone `name`, or the user's own model at a path that ends in `.keras`, with these options.

        None stands for the default of an option. Raises `UnknownBackbone`, and `BadInput` for an option that the
        backbone does not have or a value that it cannot take.
        """
        name = text_path(name, "the backbone")
        if name.endswith(".keras"):
            chosen = cls(MODEL, (224, 224))
        else:
            found = architecture(name)
            chosen = cls(found.name, (found.size, found.size), **OPTIONS.get(found.family, {}))
        if alpha is not None:
            # A float, because 1 and 1.0 must have the same fingerprint. `having` refuses 0 and negative numbers.
            factor = number(alpha, "alpha", -MOST_ALPHA, MOST_ALPHA)
            chosen = chosen.having("alpha", factor)
        if minimalistic is not None:
            chosen = chosen.having("minimalistic", flag(minimalistic, "minimalistic"))
        if pooling is not None:
            chosen = chosen.pooled(word(pooling, "pooling"))
        if input_size is not None:
            side = integer(input_size, "input_size", -MOST)  # `sized` refuses a side that is too small
            chosen = chosen.sized((side, side))
        return chosen

    def having(self, option: str, value: Any) -> "Backbone":  # noqa: ANN401 - each option has a type of its own
        """Return the backbone with another value of an option; `BadInput` if it has no such option or value."""
        if option not in self.options:
            families = [family for family, options in OPTIONS.items() if option in options]
            raise BadInput(f"{self} has no option {option}", hint=f"families with this option: {', '.join(families)}")
        if option == "alpha":
            if not 0 < value < math.inf:
                raise BadInput(f"alpha must be more than 0, not {value:g}")
            needed = self.architecture.bytes * value**2  # alpha multiplies the channels at both ends of a kernel
            capacity.demand(f"{self.name} with alpha {value:g}", needed, "give a smaller --alpha")
        return replace(self, **{option: value})

    def pooled(self, pooling: str) -> "Backbone":
        """Return the backbone with another pooling: "avg", "max", or "gem" with or without an exponent; `BadInput`.

        "gem" is the generalised mean of Radenović et al. 2018 (Fine-tuning CNN image retrieval with no human
        annotation). Without an exponent, "gem" has the exponent of this paper, 3.
        """
        if (self.is_model or self.name == MINI) and pooling != self.pooling:
            raise BadInput(f"the pooling of {self} cannot be chosen", hint="leave out --pooling")
        if pooling in {"avg", "max"}:
            return replace(self, pooling=pooling)
        found = re.fullmatch(r"gem(\d+(?:\.\d+)?)?", pooling)
        exponent = float(found[1] or 3) if found else math.nan
        if not 1 <= exponent <= MOST_GEM:
            raise BadInput(f"there is no pooling {pooling}", hint=f"choose avg, max, gem, or gem1 to gem{MOST_GEM}")
        return replace(self, pooling=f"gem{exponent:g}")

    def topped(self) -> "Backbone":
        """Return the backbone with its classifier on top; `BadInput` for a backbone without a classifier."""
        if self.is_model or self.name == MINI:
            raise BadInput(
                f"{self} has no classifier for the classes of ImageNet",
                hint="choose a name of: retrieval backbones (not mini)",
            )
        return replace(self, pooling=TOP)

    @property
    def has_top(self) -> bool:
        """Whether the network keeps its classifier on top."""
        return self.pooling == TOP

    @property
    def gem(self) -> float | None:
        """The exponent of the generalised mean, None for another pooling."""
        return float(self.pooling.removeprefix("gem")) if self.pooling.startswith("gem") else None

    def sized(self, input_size: tuple[int, int]) -> "Backbone":
        """Return the backbone with another input size (height, width); `BadInput` if it is too small or too large.

        A size is too large if the network would take too much of this machine's memory.
        """
        least = 1 if self.is_model else SMALLEST.get(self.architecture.family, 32)
        height, width = input_size
        if min(input_size) < least:
            raise BadInput(f"{self} takes an input size of at least {least}x{least} pixels, not {height}x{width}")
        capacity.demand_size(input_size)
        return replace(self, input_size=input_size)

    @property
    def is_model(self) -> bool:
        """Whether the backbone is a user's own `.keras` file."""
        return self.name == MODEL

    @property
    def architecture(self) -> Architecture:
        """The architecture in the catalogue; a user's own model has none."""
        return ARCHITECTURES[self.name]

    @property
    def scaling(self) -> Scaling:
        """How the input is scaled; a user's own model has its scaling inside."""
        return INSIDE if self.is_model else SCALINGS[self.architecture.family]

    @property
    def options(self) -> dict[str, Any]:
        """The options of the builder with their values; a user's own model has none."""
        if self.is_model:
            return {}
        return {name: getattr(self, name) for name in OPTIONS.get(self.architecture.family, ())}

    @property
    def published(self) -> bool:
        """Whether Keras has weights of this backbone. Not to be called for a user's own model."""
        if self.minimalistic:
            return self.alpha == 1
        return self.alpha in PUBLISHED_ALPHAS.get(self.architecture.family, (None,))

    @property
    def published_size(self) -> int:
        """Side of the input for which Keras has weights, in pixels: that of this backbone, or else the usual one."""
        height, width = self.input_size
        sizes = PUBLISHED_SIZES.get(self.architecture.family, ())
        return height if height == width and height in sizes else self.architecture.size

    @property
    def weights_file(self) -> str:
        """Name of the file of Keras with ImageNet weights, and with the classifier if `has_top`.

        Not to be called for a user's own model.
        """
        name = WEIGHTS_FILES[self.architecture.family].format(
            name=self.name,
            keras_name=self.architecture.keras_name.lower(),
            variant=self.name.rpartition("_")[2],
            tf="weights_tf_dim_ordering_tf_kernels",
            alpha=self.alpha,
            tenths=_alpha_in_file_name(self.alpha),
            size=self.published_size,
            minimalistic="_minimalistic" if self.minimalistic else "",
        )
        return _with_classifier(name) if self.has_top else name

    def fingerprint(self, weights: str, decode_rule: int) -> str:
        """Return the fingerprint: vectors can be compared if, and only if, their fingerprints are equal.

        `weights` is the digest of the weights. Options that are None are left out, so that a new option does not change
        the fingerprints of the backbones that do not have it.
        """
        facts = {key: value for key, value in asdict(self).items() if value is not None}
        facts |= {"weights": weights, "decode_rule": decode_rule}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> str:
        """Return the backbone as the JSON text that an index keeps."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Backbone":
        """Return the backbone that `as_json` wrote; `IndexDamaged` for any other text.

        The text may come from an index that somebody else made.
        """
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not _are_possible(facts):
            raise IndexDamaged("the index does not say which network made its vectors", hint=REPAIR)
        return cls(**facts | {"input_size": tuple(facts["input_size"])})

    def __str__(self) -> str:
        """Return the name, and in brackets every option that differs from the default."""
        if self.is_model:
            return "a model of your own"
        defaults = OPTIONS.get(self.architecture.family, {})
        changed = [f"{name} {value}" for name, value in self.options.items() if value != defaults[name]]
        if self.input_size != (self.architecture.size, self.architecture.size):
            changed.append(f"{self.input_size[0]}x{self.input_size[1]} pixels")
        if self.has_top:
            changed.append("with its classifier")
        elif self.pooling != "avg":
            changed.append(f"{self.pooling} pooling")
        return self.name + (f" ({', '.join(changed)})" if changed else "")
