"""Are parameters plain values: frozen, comparable, JSON both ways, with the defaults the classes document?"""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import pytest
from recipes import RECIPES, built

from adanns.indexes import INDEX_CLASSES
from adanns.parameters import (
    CompactParameters,
    ExactParameters,
    FunnelParameters,
    IVFOPQParameters,
    IVFParameters,
    OPQParameters,
)

EXAMPLES: list[Any] = [
    ExactParameters(),
    ExactParameters(metric="l2", ladder=(3, 9), precision={3: "float32", 9: "int8"}),
    FunnelParameters(),
    FunnelParameters(metric="ip", ladder=(16,), precision="int8", shortlist_dims=16, scan_precision=None),
    IVFParameters(),
    IVFParameters(
        metric="l2",
        ladder=(8, 64),
        precision={64: "float16"},
        cluster_dims=8,
        scan_dims=64,
        lists=100,
        scan_precision=None,
        seed=2**40,
        iterations=3,
        points_per_list=50,
    ),
    OPQParameters(),
    OPQParameters(precision=None, scan_dims=30, code_bytes=5, bits=4, rotations=0, training_rows=16),
    IVFOPQParameters(),
    IVFOPQParameters(lists=3, scan_dims=8, code_bytes=8, residual=False),
    CompactParameters(),
    CompactParameters(ladder=(8, 32, 64), bytes_per_vector=64, scan_dims=64, bits=8, prefixes=(8, 32)),
]


@pytest.mark.parametrize("parameters", EXAMPLES, ids=str)
def test_json_goes_both_ways(parameters: Any) -> None:
    text = parameters.to_json()
    assert "\n" not in text
    again = type(parameters).from_json(text)
    assert again == parameters
    assert repr(again) == repr(parameters)
    assert again.to_json() == text


@pytest.mark.parametrize("parameters", EXAMPLES, ids=str)
def test_parameters_are_frozen(parameters: Any) -> None:
    for field in dataclasses.fields(parameters):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(parameters, field.name, None)


def test_parameters_are_equal_by_value() -> None:
    assert FunnelParameters(shortlist_dims=8) == FunnelParameters(shortlist_dims=8)
    assert FunnelParameters(shortlist_dims=8) != FunnelParameters(shortlist_dims=16)
    assert ExactParameters(ladder=[8, 16]) == ExactParameters(ladder=(8, 16))  # type: ignore[arg-type]
    by_dims: Any = {100: "int8", 16: "float32"}
    assert ExactParameters(precision=by_dims) == ExactParameters(precision={16: "float32", 100: "int8"})
    assert list(ExactParameters(precision=by_dims).precision) == [16, 100]
    assert ExactParameters() != FunnelParameters()
    assert hash(FunnelParameters()) == hash(FunnelParameters())


def test_parameters_do_not_change_with_the_mapping_they_were_made_from() -> None:
    precision: Any = {16: "float32", 100: "int8"}
    parameters = ExactParameters(precision=precision)
    precision[16] = "int8"
    assert parameters.precision == {16: "float32", 100: "int8"}


def test_json_of_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ExactParameters has no field \['scan_precision', 'shortlist_dims'\]"):
        ExactParameters.from_json(FunnelParameters().to_json())
    with pytest.raises(ValueError, match="metric is 'hamming'"):
        ExactParameters.from_json('{"metric": "hamming"}')
    with pytest.raises(ValueError, match="expected a JSON object"):
        ExactParameters.from_json("[1, 2]")


@pytest.mark.parametrize("name", RECIPES)
def test_an_index_keeps_the_parameters_it_was_made_with(name: str) -> None:
    recipe = RECIPES[name]
    parameters = recipe.make("l2", "int8").parameters
    assert (parameters.metric, parameters.precision) == ("l2", "int8")
    for option, value in recipe.options.items():
        assert getattr(parameters, option) == value
    assert built(name, "l2", "int8").parameters == parameters
    assert json.loads(built(name, "l2", "int8").parameters.to_json())["ladder"] == [5, 16, 33, 65, 100]


@pytest.mark.parametrize("index_class", INDEX_CLASSES)
def test_defaults_of_an_index_class_are_those_of_its_parameters(index_class: Any) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(index_class.parameters_type)}
    arguments = inspect.signature(index_class).parameters
    assert {name: argument.default for name, argument in arguments.items()} == defaults
    assert index_class().parameters == index_class.parameters_type()
