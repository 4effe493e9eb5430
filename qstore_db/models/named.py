"""The model of a specification: one road from a kind to what computes it."""

from __future__ import annotations

from qstore_db.errors import InvalidModelError
from qstore_db.models.autoencoder import Autoencoder
from qstore_db.models.classifier import Classifier
from qstore_db.models.model import Model
from qstore_db.models.reduction import Reduction
from qstore_db.models.regressor import Regressor
from qstore_db.models.specification import ModelSpec
from qstore_db.models.target_scaling import TargetScaling

AnyModel = Classifier | Regressor | Autoencoder


def model_of(spec: ModelSpec, reduction: Reduction, scaling: TargetScaling | None = None) -> AnyModel:
    """The model that a specification describes.

    Args:
        spec: What it is.
        reduction: Fitted for it.
        scaling: Units of its targets; for a regressor, and for nothing else.

    Raises:
        InvalidModelError: The reduction does not fit, or the scaling is missing or given in vain.
    """
    if (scaling is not None) != (spec.kind == "regressor"):
        raise InvalidModelError(
            f"A model of kind {spec.kind!r} {'takes no' if scaling is not None else 'needs a'} scaling of targets",
            fix="Fit a TargetScaling on the training targets of a regressor, and of nothing else.",
            value=spec.kind,
        )
    if scaling is not None:
        return Regressor(spec, reduction, scaling)
    return Autoencoder(spec, reduction) if spec.kind == "autoencoder" else Classifier(spec, reduction)


def scaling_of(model: Model) -> TargetScaling | None:
    """The units of a regressor's targets; ``None`` for the other kinds."""
    return model.scaling if isinstance(model, Regressor) else None
