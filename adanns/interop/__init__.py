"""Indices from other libraries and to them, answers equal. FAISS is imported when it is asked for."""

from adanns.interop.read_faiss import from_faiss
from adanns.interop.write_faiss import to_faiss

__all__ = ["from_faiss", "to_faiss"]
