"""What training minimises: losses under which like pictures get near vectors. Imports Keras, as what uses it does.

Each takes `(truth, given)` as Keras hands it over, and is one number for the batch.
"""

import math
from typing import Any

import keras
from keras import ops

Tensor = Any
ARCFACE_MARGIN, ARCFACE_SCALE = 0.2, 16.0
"""Radians; in the paper 0.5 and 64, for millions of faces of ten thousands of people. With tens or hundreds of classes
the softmax is saturated by less: Zhang et al. 2019 (AdaCos, arXiv 1905.00292, equation 12) derive a scale of sqrt(2)
log(classes - 1), 3 to 10. And a network that starts from scratch does not get over a large margin: on
Corel-1k its mAP is 0.58 after 20 epochs with 0.2 and 16, 0.46 after 30 with 0.5 and 30."""
TEMPERATURE = 0.1
"""As in the supervised contrastive paper, section 4.4."""
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
"""Weights of the three terms, as in the VICReg paper, section 4.2."""
LEAST_VARIANCE = 1e-4
"""Under the root of a variance, likewise."""
NOT_ITSELF = -1e9
"""What stands for the similarity of a picture and itself: nothing after an exponential."""


class ArcFace(keras.losses.Loss):  # type: ignore[misc]
    """Additive angular margin (Deng et al. 2019, ArcFace, arXiv 1801.07698, equation 3).

    `truth` has the class of each picture, (n,) of int; `given` the cosines of the pictures to the centres of all
    classes, (n, classes). The angle to the own class is counted `margin` larger than it is; where that would pass the
    opposite, the loss goes on in a straight line, as in the authors' code (insightface, `CombinedMarginLoss`).
    """

    def __init__(self, margin: float = ARCFACE_MARGIN, scale: float = ARCFACE_SCALE) -> None:
        super().__init__(name="arcface")
        self.margin, self.scale = margin, scale

    def call(self, truth: Tensor, given: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        own = ops.one_hot(ops.cast(ops.reshape(truth, (-1,)), "int32"), given.shape[-1], dtype=given.dtype)
        cosine = ops.clip(given, -1 + 1e-6, 1 - 1e-6)  # the root's slope is endless at the ends
        turned = cosine * math.cos(self.margin) - ops.sqrt(1 - cosine**2) * math.sin(self.margin)
        beyond = cosine - math.sin(self.margin) * self.margin
        turned = ops.where(cosine > math.cos(math.pi - self.margin), turned, beyond)
        logits = self.scale * ops.where(own > 0, turned, cosine)
        return ops.mean(ops.categorical_crossentropy(own, logits, from_logits=True))


class SupervisedContrastive(keras.losses.Loss):  # type: ignore[misc]
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, equation 2).

    `truth` has the class of each picture, (n,) of int; `given` the vectors, (n, dim), of length 1. A picture that is
    the only one of its class in the batch has nothing to be near to, and is left out of the mean.
    """

    def __init__(self, temperature: float = TEMPERATURE) -> None:
        super().__init__(name="supcon")
        self.temperature = temperature

    def call(self, truth: Tensor, given: Tensor) -> Tensor:
        """Return the mean over the pictures that have others of their class."""
        classes = ops.reshape(truth, (-1, 1))
        itself = ops.eye(ops.shape(given)[0], dtype=given.dtype)
        alike = ops.cast(classes == ops.transpose(classes), given.dtype) - itself
        logits = ops.matmul(given, ops.transpose(given)) / self.temperature
        logits = ops.where(itself > 0, NOT_ITSELF, logits)
        chances = logits - ops.logsumexp(logits, axis=1, keepdims=True)
        others = ops.sum(alike, axis=1)
        each = -ops.sum(ops.where(alike > 0, chances, 0.0), axis=1) / ops.maximum(others, 1)
        return ops.sum(each) / ops.maximum(ops.sum(ops.cast(others > 0, given.dtype)), 1)


class VICReg(keras.losses.Loss):  # type: ignore[misc]
    """Variance, invariance, covariance (Bardes, Ponce & LeCun 2022, VICReg, arXiv 2105.04906, section 4.1).

    `given` has two views of n pictures one after the other, (2 n, dim), not normalised; `truth` is not looked at. Needs
    no large batches and no negative pictures.
    """

    def __init__(self) -> None:
        super().__init__(name="vicreg")

    def call(self, truth: Tensor, given: Tensor) -> Tensor:  # noqa: ARG002 - there is none
        """Return the weighted sum of the three terms."""
        one, two = ops.split(given, 2)
        apart = ops.mean((one - two) ** 2)
        parts = [_variance_and_covariance(view) for view in (one, two)]
        variance, covariance = (parts[0][at] + parts[1][at] for at in (0, 1))
        return INVARIANCE * apart + VARIANCE * variance / 2 + COVARIANCE * covariance


def _variance_and_covariance(view: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the deviations lack to 1, and the mean of the squared covariances, the diagonal left out."""
    centred = view - ops.mean(view, axis=0)
    among = ops.cast(ops.maximum(ops.shape(view)[0] - 1, 1), view.dtype)
    table = ops.matmul(ops.transpose(centred), centred) / among
    variances = ops.sum(centred**2, axis=0) / among
    lacking = ops.mean(ops.relu(1 - ops.sqrt(variances + LEAST_VARIANCE)))
    off_diagonal = ops.sum(table**2) - ops.sum(variances**2)
    return lacking, off_diagonal / view.shape[-1]


LOSSES = {"arcface": ArcFace, "supcon": SupervisedContrastive, "vicreg": VICReg}
