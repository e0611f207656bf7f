"""Does an index that is changed in any order hold what a dict would, and answer as numpy would? For every recipe."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twins
from recipes import DIMS, METRICS, RECIPES, assert_same, built, ids_of, rows_of
from stress_threads import stress

import adanns

TOLERANCE = 2e-5
POOL = rows_of(3000, seed=7)  # vectors that are added
QUERIES = rows_of(3, seed=1)
START = 50  # rows built from

every_recipe = pytest.mark.parametrize("name", RECIPES)
every_metric = pytest.mark.parametrize("metric", METRICS)


class Model:
    """What an index should hold: a dict of vectors by id, beside the index itself."""

    def __init__(self, name: str, metric: str, precision: str, seed: int, folder: Path) -> None:
        self.recipe, self.metric, self.precision, self.folder = RECIPES[name], metric, precision, folder
        self.random = np.random.default_rng(seed)
        self.used = 0
        self.held: dict[int, Any] = {}
        rows, ids = self.fresh(START), self.random.permutation(500)[:START] - 100
        ids[ids == -1] = 777
        self.index = self.recipe.build(self.recipe.make(metric, precision), rows, ids)
        self.hold(ids, rows)

    def fresh(self, count: int) -> Any:
        self.used += count
        return POOL[self.used - count : self.used]

    def hold(self, ids: Any, rows: Any) -> None:
        self.held.update(zip(ids.tolist(), rows, strict=True))

    def some(self, count: int) -> Any:
        """Of the ids held."""
        held = np.array(sorted(self.held), np.int64)
        return self.random.permutation(held)[:count]

    def others(self, count: int) -> Any:
        """Ids that are not held, some of them of removed rows."""
        ids = np.setdiff1d(np.arange(-2000, 2000), [*self.held, -1])
        return self.random.permutation(ids)[:count]

    def step(self) -> None:
        getattr(self, self.random.choice(["add", "add", "upsert", "remove", "compact", "save", "fail"]))()

    def add(self) -> None:
        count = int(self.random.choice([1, 3, 17, 60]))
        ids, rows = self.others(count), self.fresh(count)
        assert self.recipe.add(self.index, rows, ids) is self.index
        self.hold(ids, rows)

    def upsert(self) -> None:
        ids = self.random.permutation(np.concatenate([self.some(9), self.others(4)]))
        rows = self.fresh(len(ids))
        self.recipe.upsert(self.index, rows, ids)
        self.hold(ids, rows)

    def remove(self) -> None:
        gone = self.some(int(self.random.choice([1, 5, 40])))
        assert self.index.remove(np.concatenate([gone, self.others(3)]), missing="ignore") == len(gone)
        for identity in gone.tolist():
            del self.held[identity]

    def compact(self) -> None:
        self.index.compact()

    def save(self) -> None:
        self.index.save(self.folder)
        self.index = adanns.load(self.folder, mmap=bool(self.random.integers(2)), verify=True)

    def fail(self) -> None:
        """What is refused changes nothing."""
        with pytest.raises(adanns.UnknownIdError):
            self.index.remove(np.concatenate([self.some(2), self.others(1)]))
        if self.held:
            with pytest.raises(adanns.DuplicateIdError):
                self.recipe.add(self.index, rows_of(2), np.concatenate([self.some(1), self.others(1)]))

    def check(self) -> None:
        assert self.index.rows == len(self.held)
        if not self.held:
            assert (RECIPES["exact"] is not self.recipe) or (self.index.search(QUERIES).counts == 0).all()
            return
        ids = np.array(list(self.held), np.int64)
        stored = twins.stored(np.array(list(self.held.values())), self.metric, self.precision)
        k = int(self.random.choice([1, 10, 400]))
        result = self.recipe.exhaustive(self.index, QUERIES, k, **keep(self.recipe, max(k, len(ids))))
        twins.assert_nearest(result, twins.distances(stored, QUERIES, self.metric), ids, TOLERANCE)
        self.check_filtered(stored, ids, k)

    def check_filtered(self, stored: Any, ids: Any, k: int) -> None:
        allowed = self.random.random(len(ids)) < self.random.choice([0.03, 0.3, 0.9])
        asked = np.concatenate([ids[allowed], self.others(3)])
        result = self.recipe.exhaustive(self.index, QUERIES, k, filter=asked, **keep(self.recipe, max(k, len(ids))))
        twin = twins.distances(stored[allowed], QUERIES, self.metric)
        twins.assert_nearest(result, twin, ids[allowed], TOLERANCE)
        if allowed.any():
            radius = float(np.median(twin))
            found = self.recipe.range_search(self.index, QUERIES, radius, filter=asked)
            assert_within(found, twin, ids[allowed], radius)


def keep(recipe: Any, count: int) -> dict[str, Any]:
    return {} if recipe is RECIPES["exact"] else {"rerank": [(DIMS, count)]}


def assert_within(found: Any, twin: Any, ids: Any, radius: float) -> None:
    """All rows of the twin's (queries, rows) distances within the radius, but for rounding at its edge."""
    margin = TOLERANCE * (1 + abs(radius))
    for query, distances in enumerate(twin):
        got, got_ids = found.of(query)
        by_id = dict(zip(ids.tolist(), distances, strict=True))
        assert (np.diff(got) >= 0).all()
        assert (got <= radius).all()
        assert len(set(got_ids.tolist())) == len(got_ids)
        assert {one for one, distance in by_id.items() if distance < radius - margin} <= set(got_ids.tolist())
        np.testing.assert_allclose(got, [by_id[one] for one in got_ids.tolist()], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
@every_recipe
def test_any_changes_leave_what_a_dict_would_hold(name: str, seed: int, tmp_path: Path) -> None:
    metric, precision = METRICS[(seed + len(name)) % 3], ("float32", "float16")[seed % 2]
    model = Model(name, metric, precision, seed, tmp_path / "index")
    for _ in range(14):
        model.step()
        model.check()


@every_recipe
def test_everything_can_be_removed_and_added_again(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    index = recipe.build(recipe.make("l2"), rows_of(40), ids_of(40))
    assert index.remove(ids_of(40)) == 40
    for _ in range(2):
        assert (index.rows, index.health().rows) == (0, 0)
        result = recipe.search(index, QUERIES, 5)
        assert (result.counts == 0).all()
        assert (result.ids == -1).all()
        assert recipe.range_search(index, QUERIES, 1e9).counts.tolist() == [0, 0, 0]
        assert recipe.search(index, QUERIES, 5, filter=ids_of(40)).counts.tolist() == [0, 0, 0]
        index.compact().save(tmp_path / "empty")
        index = adanns.load(tmp_path / "empty", mmap=True)
    recipe.add(index, POOL[:30], np.arange(30))
    twins.assert_nearest(
        recipe.exhaustive(index, QUERIES, 5), twins.distances(POOL[:30], QUERIES, "l2"), np.arange(30), TOLERANCE
    )


@every_metric
@every_recipe
def test_compacting_changes_no_result(name: str, metric: str) -> None:
    recipe = RECIPES[name]
    for precision in ("mixed", "int8"):
        whole = built(name, metric, precision)
        index = recipe.build(recipe.make(metric, whole.parameters.precision), rows_of(307), ids_of(307))
        recipe.add(index, POOL[:200], np.arange(200))
        recipe.add(index, POOL[200:230], np.arange(200, 230))
        index.remove(np.concatenate([ids_of(307)[::9], np.arange(50, 90)]))
        before = recipe.exhaustive(index, QUERIES, 50, threads=1)
        assert_same(recipe.exhaustive(index, QUERIES, 50, threads=3), before)
        assert len(index._snapshot.segments) == 3
        assert_same(recipe.exhaustive(index.compact(), QUERIES, 50), before)
        assert index.health().segments == 1


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_alone_are_changed_too(bits: int, tmp_path: Path) -> None:
    for residual in (False, True):
        index: Any = adanns.IVFOPQIndex(
            16, 32, 7, 4, bits=bits, residual=residual, precision=None, ladder=(16, 32, 100), rotations=2
        ).build(rows_of(400))
        index.add(POOL[:100]).add(POOL[100:200])
        whole = adanns.IVFOPQIndex(
            16, 32, 7, 4, bits=bits, residual=residual, precision=None, ladder=(16, 32, 100), rotations=2
        ).build(rows_of(400))
        assert_same(whole.search(QUERIES, 20, probes=7), index.search(QUERIES, 20, probes=7, filter=range(400)))
        index.remove(range(0, 600, 7))
        before = index.search(QUERIES, 600, probes=7)
        assert (before.counts == index.rows).all()
        index.save(tmp_path / f"{residual}")
        for other in (adanns.load(tmp_path / f"{residual}", mmap=True), index.compact()):
            assert_same(other.search(QUERIES, 600, probes=7), before)
        near = index.range_search(QUERIES, float(before.distances[0, 99]), probes=7)
        assert near.of(0)[1].tolist() == before.ids[0, :100].tolist()


def test_many_small_additions_leave_few_segments() -> None:
    index = adanns.IVFIndex(8, 16, 4, ladder=(8, 16), iterations=2).build(rows_of(64, 16))
    for start in range(0, 3000, 10):
        index.add(rows_of(3000, 16, seed=7)[start : start + 10])
    assert index.rows == 3064
    assert len(index._snapshot.segments) < 12
    assert index.search(rows_of(3000, 16, seed=7)[2990], 1, probes=4).ids[0, 0] == 64 + 2990


@every_recipe
def test_a_search_during_changes_sees_one_state_of_many(name: str) -> None:
    recipe = RECIPES[name]
    index = recipe.build(recipe.make("l2"), POOL[:100], np.arange(100))
    whole = {"rerank": [(DIMS, 300)], **recipe.all_lists} if name != "exact" else {}
    seen: list[Any] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                seen.append(recipe.search(index, QUERIES, 100, **whole).ids)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    states = [np.arange(100)]  # ids are rows of the pool
    for turn in range(1, 13):
        batch = np.arange(100 * turn, 100 * (turn + 1))
        recipe.add(index, POOL[batch], batch)
        states.append(np.concatenate([states[-1], batch]))
        index.remove(batch - 100)
        states.append(batch)
        if turn % 5 == 4:
            index.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert seen
    assert not failures
    expected = [state[np.argsort(twins.distances(POOL[state], QUERIES, "l2"), axis=1)[:, :100]] for state in states]
    for ids in seen:
        assert any(np.array_equal(ids, state) for state in expected)


def test_threads_may_do_anything_at_once() -> None:
    stress(2)


def test_ids_of_additions_follow_on_and_may_be_any_but_missing() -> None:
    index = adanns.ExactIndex().build(rows_of(5), [-(1 << 63), 3, -7, 0, 9])
    index.add(rows_of(2, seed=3))
    assert sorted(index.search(QUERIES[0], 7).ids[0].tolist()) == [-(1 << 63), -7, 0, 3, 9, 10, 11]
    index.upsert(rows_of(1), [(1 << 63) - 1])
    with pytest.raises(ValueError, match=r"ids would go from 9223372036854775808 beyond int64; pass ids="):
        index.add(rows_of(1))
    assert index.remove(-(1 << 63)) == 1
    assert index.remove({3, 0}) == 2
    assert index.remove([]) == 0
    assert index.rows == 5


BAD = {
    "not built": (lambda: adanns.ExactIndex().add(rows_of(2)), adanns.NotBuiltError, "call build"),
    "other dims": (lambda: small().add(rows_of(2, 8)), ValueError, "vectors have 8 dimensions; expected 100"),
    "chunks of other dims": (lambda: small().add(iter([rows_of(2, 8)])), ValueError, "of chunk 0 have 8 dimensions"),
    "NaN": (lambda: small().add(np.full((2, DIMS), np.nan, np.float32)), ValueError, "row 0 holds NaN"),
    "no rows": (lambda: small().add(rows_of(2)[:0]), ValueError, "vectors are empty"),
    "missing as id": (lambda: small().add(rows_of(2), [4000, -1]), ValueError, "ids hold -1 at row 1"),
    "twice an id": (lambda: small().upsert(rows_of(2), [7, 7]), adanns.DuplicateIdError, "id 7 is given to rows 0 and"),
    "held id": (lambda: small().add(rows_of(2), [999, 7]), adanns.DuplicateIdError, "id 7 is in the index already"),
    "unknown id": (lambda: small().remove([7, 999]), adanns.UnknownIdError, "id 999 is not in the index"),
    "float ids": (lambda: small().remove([7.0]), TypeError, "ids have dtype float64; expected integers"),
    "other missing": (lambda: small().remove(7, missing="warn"), ValueError, "choose 'raise' or 'ignore'"),
    "foreign lists": (
        lambda: fresh("mg-ivf").add(rows_of(2), [998, 999]),
        ValueError,
        "3 dims, not a prefix on its ladder .*pass routing_vectors=",
    ),
    "other foreign rows": (
        lambda: fresh("mg-ivf").add(rows_of(2), [998, 999], routing_vectors=rows_of(1, 3)),
        ValueError,
        "routing_vectors have 1 rows but there are 2 vectors",
    ),
    "arrays of segments": (
        lambda: small().add(rows_of(2), [998, 999]).arrays,
        ValueError,
        r"2 segments and 0 removed rows; call compact\(\)",
    ),
    "NaN radius": (lambda: small().range_search(QUERIES, np.nan), ValueError, "radius is NaN"),
    "no radius": (lambda: small().range_search(QUERIES, "far"), TypeError, "radius is 'far'"),
}


def small() -> Any:
    return adanns.ExactIndex().build(rows_of(40))


def fresh(name: str) -> Any:
    return RECIPES[name].build(RECIPES[name].make(), rows_of(40))


@pytest.mark.parametrize("what", BAD)
def test_bad_changes_are_refused(what: str) -> None:
    call, error, message = BAD[what]
    with pytest.raises(error, match=message):
        call()


def test_arrays_of_all_segments_can_be_read() -> None:
    index = adanns.ExactIndex().build(rows_of(40)).add(rows_of(3))
    assert [len(arrays["ids"]) for arrays in index.segments] == [40, 3]
    assert np.array_equal(index.compact().arrays["ids"], np.arange(43))


def test_health_says_when_to_compact_and_when_to_rebuild() -> None:
    index: Any = adanns.IVFIndex(8, 8, 10, ladder=(8, 16), iterations=2).build(rows_of(1000, 16))
    assert (index.health().advice, index.health().segments) == ("fine", 1)
    index.remove(range(250))
    health = index.health()
    assert (health.rows, health.removed, health.advice) == (750, 250, "compact")
    assert "25% of the stored rows are removed" in str(health)
    assert index.compact().health().advice == "fine"
    index.add(rows_of(900, 16, seed=3))
    assert index.health().added == 900 / 1650
    assert "advice: rebuild (55% of the rows came after what the index learnt from)" in str(index.health())
    assert index.health().clipped < 0.02
    index.remove(range(1000, 1900))
    index.add(np.repeat(rows_of(1, 16), 400, axis=0))  # all in one list
    assert index.health().imbalance > 1.5 * index.health().built_imbalance
    assert index.health().imbalance == pytest.approx(twin_of_imbalance(index))


def test_health_tells_of_values_that_int8_cannot_say() -> None:
    rows = rows_of(500, 16)
    for index in (adanns.FunnelIndex(8, metric="l2", ladder=(8, 16)), adanns.ExactIndex(metric="l2", precision="int8")):
        index.build(rows)
        assert index.health().clipped == 0
        index.add(rows[:100] * 3)
        low, high = rows.min(axis=0), rows.max(axis=0)
        dims = 8 if isinstance(index, adanns.FunnelIndex) else 16
        beyond = ((rows[:100] * 3 < low) | (rows[:100] * 3 > high))[:, :dims].mean()
        assert index.health().clipped == pytest.approx(beyond, abs=0.02)
        assert "of the int8 values of new rows are at their limits" in index.health().reason
    assert small().health().clipped is None


def twin_of_imbalance(index: Any) -> float:
    live = index.compact().arrays
    sizes = np.diff(live["list_offsets"])
    return float(len(sizes) * (sizes**2).sum() / sizes.sum() ** 2)


def test_what_is_refused_changes_nothing() -> None:
    index = small()
    before = index._snapshot
    for bad in (lambda: index.add(rows_of(2), [999, 7]), lambda: index.upsert(POOL[:2] * np.nan, [1, 2]),
                lambda: index.remove([3, 999])):  # fmt: skip
        with pytest.raises((ValueError, LookupError)):
            bad()
        assert index._snapshot is before
