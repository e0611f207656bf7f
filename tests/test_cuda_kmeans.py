"""Does k-means on a device do what it does on the CPU? In the emulator, and on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_emulator.emulator import ORDERS
from cuda_search import AnyDevice, Loaded, small_integers

import adanns
from adanns import _core, cuda
from adanns.cuda import points as device_points
from adanns.cuda.points import DevicePoints


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("rows", "dims", "clusters"), [(1, 1, 1), (150, 17, 5), (130, 40, 70), (300, 64, 3)])
def test_rows_go_to_the_nearest_centroid_and_are_summed_in_any_order(
    loaded: Loaded, device: AnyDevice, rows: int, dims: int, clusters: int, order: str
) -> None:
    rng = np.random.default_rng(rows)
    points, centroids = small_integers(rng, (rows, dims)), small_integers(rng, (clusters, dims))
    centroids[0, 0] = 3
    points[-1, 0] = 3
    with loaded[1].order(order):
        assigned, distances, sums = DevicePoints(points, device, loaded[0]).nearest_and_sums(centroids)
    twin = ((points[:, np.newaxis].astype(np.float64) - centroids) ** 2).sum(axis=2)
    np.testing.assert_array_equal(assigned, twin.argmin(axis=1))
    np.testing.assert_array_equal(distances, twin.min(axis=1).astype(np.float32))
    expected = np.zeros((clusters, dims), np.float32)
    np.add.at(expected, assigned, points)
    np.testing.assert_allclose(sums, expected, rtol=1e-6, atol=1e-9)


def test_chunks_are_assigned_one_after_another(
    loaded: Loaded, device: AnyDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    points, centroids = rng.standard_normal((200, 24), np.float32), rng.standard_normal((9, 24), np.float32)
    whole = DevicePoints(points, device, loaded[0]).nearest_and_sums(centroids)
    monkeypatch.setattr(device_points, "CHUNK_ROWS", 70)
    for a, b in zip(whole, DevicePoints(points, device, loaded[0]).nearest_and_sums(centroids), strict=True):
        np.testing.assert_array_equal(a, b)
    assigned, distances = _core.assign(points, centroids, False, True, 1)
    np.testing.assert_array_equal(whole[0], assigned)  # no two centroids are as near as float16 rounds
    np.testing.assert_allclose(whole[1], distances, rtol=1e-5)


def test_kmeans_on_a_device_is_as_good_as_on_the_cpu(
    loaded: Loaded, device: AnyDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "current_device", lambda: (device, loaded[0]))
    rng = np.random.default_rng(5)
    rows = (rng.standard_normal((6, 16))[rng.integers(0, 6, 400)] + 0.2 * rng.standard_normal((400, 16))).astype(
        np.float32
    )
    for metric in ("l2", "cosine"):
        host = adanns.train_kmeans(rows, 6, iterations=5, metric=metric)
        found = adanns.train_kmeans(rows, 6, iterations=5, metric=metric, device="cuda")
        assert found.objective[-1] <= 1.02 * host.objective[-1]
        assert np.mean(found.assignments == host.assignments) > 0.95
    with pytest.raises(ValueError, match="device='tpu'; choose 'cpu' or 'cuda'"):
        adanns.train_kmeans(rows, 6, device="tpu")
