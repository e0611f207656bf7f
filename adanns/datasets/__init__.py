"""Embeddings to try the package on: `load(name)` gives database, queries, labels and ladder."""

from adanns.datasets.dataset import Dataset, DatasetUnavailableError
from adanns.datasets.registry import available, load

__all__ = ["Dataset", "DatasetUnavailableError", "available", "load"]
