"""The losses that training minimises: they bring the vectors of similar pictures near to each other.

Each takes `(truth, given)`, which Keras calls `y_true` and `y_pred`, and returns one number per batch. This module
imports Keras, so only `learner` imports it.
"""

import math
from typing import Any

import keras
from keras import ops

Tensor = Any
"""A Keras tensor: Keras has no types."""
ARCFACE_MARGIN, ARCFACE_SCALE = 0.2, 16.0
"""The margin, in radians, and the scale of the logits. The paper has 0.5 and 64, for millions of faces of tens of
thousands of people. With tens or hundreds of classes, a smaller scale saturates the softmax: Zhang et al. 2019 (AdaCos,
arXiv 1905.00292, equation 12) derive sqrt(2) log(classes - 1), which is 3 to 10. A network that starts from scratch
does not overcome a large margin: on Corel-1k its mAP is 0.58 after 20 epochs with 0.2 and 16, and 0.46 after 30 epochs
with 0.5 and 30."""
TEMPERATURE = 0.1
"""As in the supervised contrastive paper, section 4.4."""
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
"""Weights of the three terms, as in the VICReg paper, section 4.2."""
LEAST_VARIANCE = 1e-4
"""Added to a variance before its square root is taken, as in the VICReg paper, section 4.1."""
NOT_ITSELF = -1e9
"""Stands in place of the similarity of a picture to itself; its exponential is zero."""


class ArcFace(keras.losses.Loss):  # type: ignore[misc]
    """Additive angular margin (Deng et al. 2019, ArcFace, arXiv 1801.07698, equation 3).

    `truth` has the class of each picture, (n,) of int; `given` has the cosines of the pictures to the centres of all
    classes, (n, classes). The angle of a picture to its own class is counted as `margin` larger than it is. Where that
    angle would exceed 180 degrees, the loss goes on as a straight line, as in the authors' code (insightface,
    `CombinedMarginLoss`).
    """

    def __init__(self, margin: float = ARCFACE_MARGIN, scale: float = ARCFACE_SCALE) -> None:
        super().__init__(name="arcface")
        self.margin, self.scale = margin, scale

    def call(self, truth: Tensor, given: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        own_class = ops.one_hot(ops.cast(ops.reshape(truth, (-1,)), "int32"), given.shape[-1], dtype=given.dtype)
        cosine = ops.clip(given, -1 + 1e-6, 1 - 1e-6)  # the slope of the square root is infinite at -1 and 1
        with_margin = cosine * math.cos(self.margin) - ops.sqrt(1 - cosine**2) * math.sin(self.margin)
        straight_line = cosine - math.sin(self.margin) * self.margin
        with_margin = ops.where(cosine > math.cos(math.pi - self.margin), with_margin, straight_line)
        logits = self.scale * ops.where(own_class > 0, with_margin, cosine)
        return ops.mean(ops.categorical_crossentropy(own_class, logits, from_logits=True))


class SupervisedContrastive(keras.losses.Loss):  # type: ignore[misc]
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, equation 2).

    `truth` has the class of each picture, (n,) of int; `given` has the vectors, (n, dim), of length 1. A picture that
    is the only one of its class in the batch does not count in the mean.
    """

    def __init__(self, temperature: float = TEMPERATURE) -> None:
        super().__init__(name="supcon")
        self.temperature = temperature

    def call(self, truth: Tensor, given: Tensor) -> Tensor:
        """Return the mean over the pictures that have others of their class in the batch."""
        classes = ops.reshape(truth, (-1, 1))
        itself = ops.eye(ops.shape(given)[0], dtype=given.dtype)
        same_class = ops.cast(classes == ops.transpose(classes), given.dtype) - itself
        logits = ops.matmul(given, ops.transpose(given)) / self.temperature
        logits = ops.where(itself > 0, NOT_ITSELF, logits)
        log_probabilities = logits - ops.logsumexp(logits, axis=1, keepdims=True)
        others = ops.sum(same_class, axis=1)
        of_picture = -ops.sum(ops.where(same_class > 0, log_probabilities, 0.0), axis=1) / ops.maximum(others, 1)
        return ops.sum(of_picture) / ops.maximum(ops.sum(ops.cast(others > 0, given.dtype)), 1)


class VICReg(keras.losses.Loss):  # type: ignore[misc]
    """Variance, invariance, covariance (Bardes, Ponce & LeCun 2022, VICReg, arXiv 2105.04906, section 4.1).

    `given` has two views of n pictures, all first views before all second views: (2 n, dim), not normalised. `truth` is
    ignored. The loss needs neither large batches nor pictures that differ.
    """

    def __init__(self) -> None:
        super().__init__(name="vicreg")

    def call(self, truth: Tensor, given: Tensor) -> Tensor:  # noqa: ARG002 - Keras gives it
        """Return the weighted sum of the three terms."""
        first, second = ops.split(given, 2)
        invariance = ops.mean((first - second) ** 2)
        first_variance, first_covariance = _variance_and_covariance(first)
        second_variance, second_covariance = _variance_and_covariance(second)
        variance, covariance = first_variance + second_variance, first_covariance + second_covariance
        return INVARIANCE * invariance + VARIANCE * variance / 2 + COVARIANCE * covariance


def _variance_and_covariance(view: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the standard deviations are below 1, and the mean of the squared covariances off the diagonal."""
    centred = view - ops.mean(view, axis=0)
    freedom = ops.cast(ops.maximum(ops.shape(view)[0] - 1, 1), view.dtype)
    covariances = ops.matmul(ops.transpose(centred), centred) / freedom
    variances = ops.sum(centred**2, axis=0) / freedom
    below_one = ops.mean(ops.relu(1 - ops.sqrt(variances + LEAST_VARIANCE)))
    off_diagonal = ops.sum(covariances**2) - ops.sum(variances**2)
    return below_one, off_diagonal / view.shape[-1]


LOSSES = {"arcface": ArcFace, "supcon": SupervisedContrastive, "vicreg": VICReg}
"""Name in `recipe.LOSSES` -> loss."""
