"""Adaptive classification (MRL, section 4.1): each row is classified with as few dimensions as it needs.

>>> classifier = Classifier.load("classifier.npz")
>>> predictions = predict_rungs(held_out, classifier)
>>> cascade = learn_thresholds(predictions, held_out_labels, expected_dims=40)
>>> labels, dims_used = cascade.predict(embeddings, classifier)
"""

from adanns.adaptive_classification.baselines import majority_vote, oracle
from adanns.adaptive_classification.cascade import Cascade
from adanns.adaptive_classification.classifier import Classifier, rung_logits
from adanns.adaptive_classification.learning import CurvePoint, learn_curve, learn_greedily, learn_thresholds
from adanns.adaptive_classification.predictions import RungPredictions, predict_rungs

__all__ = [
    "Cascade",
    "Classifier",
    "CurvePoint",
    "RungPredictions",
    "learn_curve",
    "learn_greedily",
    "learn_thresholds",
    "majority_vote",
    "oracle",
    "predict_rungs",
    "rung_logits",
]
