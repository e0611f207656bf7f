"""Embeddings to try the package on, and one's own: `load(name)` gives database, queries, labels and ladder."""

from adanns.datasets.dataset import Dataset, DatasetUnavailableError
from adanns.datasets.fbin_file import write_fbin
from adanns.datasets.registry import available, load
from adanns.datasets.vector_files import read_vectors

__all__ = ["Dataset", "DatasetUnavailableError", "available", "load", "read_vectors", "write_fbin"]
