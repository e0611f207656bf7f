"""Are bad parameters of an index refused with a message that says what came?"""

from __future__ import annotations

import re
from typing import Any

import pytest
from recipes import RECIPES, rows_of

import adanns

GOOD = rows_of(40)
QUERIES = rows_of(3, seed=1)

every_recipe = pytest.mark.parametrize("name", RECIPES)


BAD_PARAMETERS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"metric": "euclid"}, ValueError, "metric is 'euclid'; choose one of ('l2', 'ip', 'cosine')"),
    ({"metric": None}, ValueError, "metric is None"),
    ({"precision": "bfloat16"}, ValueError, "precision is 'bfloat16'; choose one of ('float32', 'float16', 'int8')"),
    ({"precision": {16: "float32", 100: "int4"}}, ValueError, "precision is 'int4'"),
    ({"precision": {}}, TypeError, "precision is {}"),
    ({"precision": 16}, TypeError, "precision is 16"),
    ({"ladder": ()}, ValueError, "ladder is ()"),
    ({"ladder": (16, 8)}, ValueError, "ladder is (16, 8); its dims must be positive and increase"),
    ({"ladder": (8, 8, 16)}, ValueError, "ladder is (8, 8, 16)"),
    ({"ladder": (0, 8)}, ValueError, "ladder is (0, 8)"),
    ({"ladder": (8.0, 16.0)}, TypeError, "ladder is (8.0, 16.0); expected increasing positive ints"),
    ({"ladder": 16}, TypeError, "ladder is 16; expected increasing positive ints"),
    ({"ladder": "16"}, TypeError, "ladder is '16'; expected increasing positive ints"),
]
BAD_OWN_PARAMETERS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("funnel-codes", {"shortlist_dims": 0}, ValueError, "shortlist_dims=0; expected 1 or more"),
    ("funnel-codes", {"shortlist_dims": "16"}, TypeError, "shortlist_dims is '16'; expected an int"),
    ("funnel-codes", {"scan_precision": "int4"}, ValueError, "scan_precision is 'int4'; choose 'int8', or None"),
    ("ivf-codes", {"scan_precision": "float16"}, ValueError, "scan_precision is 'float16'"),
    ("ivf-codes", {"cluster_dims": None}, TypeError, "cluster_dims is None; expected an int"),
    ("ivf-codes", {"scan_dims": -1}, ValueError, "scan_dims=-1; expected 1 or more"),
    ("ivf-codes", {"lists": 0}, ValueError, "lists=0; expected 1 or more"),
    ("ivf-codes", {"lists": 2.5}, TypeError, "lists is 2.5; expected an int"),
    ("ivf-codes", {"iterations": 0}, ValueError, "iterations=0; expected 1 or more"),
    ("ivf-codes", {"points_per_list": 0}, ValueError, "points_per_list=0; expected 1 or more"),
    ("ivf-codes", {"seed": -1}, ValueError, "seed=-1; expected 0 or more"),
    ("ivf-codes", {"seed": "luck"}, TypeError, "seed is 'luck'; expected an int"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_PARAMETERS, ids=str)
@every_recipe
def test_bad_parameters_are_refused(name: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        RECIPES[name].make(**options)


@pytest.mark.parametrize(("name", "options", "error", "message"), BAD_OWN_PARAMETERS, ids=str)
def test_bad_parameters_of_a_class_are_refused(
    name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        RECIPES[name].make(**options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("funnel-codes", {"shortlist_dims": 20}, "shortlist_dims=20 is not on the ladder"),
        ("funnel-codes", {"shortlist_dims": 128}, "shortlist_dims=128 is beyond the 100 dimensions"),
        ("ivf-codes", {"scan_dims": 20}, "scan_dims=20 is not on the ladder"),
        ("ivf-codes", {"cluster_dims": 20}, "cluster_dims=20 is not on the ladder"),
        ("exact", {"precision": {20: "float32", 100: "int8"}}, "a key of precision=20 is not on the ladder"),
        ("exact", {"precision": {65: "float32"}}, "precision covers dims up to 65 but the vectors have 100"),
        ("exact", {"precision": {65: "float32", 128: "int8"}}, "a key of precision=128 is beyond the 100 dimensions"),
    ],
    ids=str,
)
def test_parameters_that_do_not_fit_the_vectors_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    index = RECIPES[name].make(**options)
    with pytest.raises(ValueError, match=re.escape(message)):
        index.build(GOOD)
    with pytest.raises(adanns.NotBuiltError):
        index.search(QUERIES)
