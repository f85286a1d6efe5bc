"""The model builder's client: find labelled data, ask, fetch, verify."""

from bonded.api import Dataset, Node
from bonded.errors import BondedError, NoGrant, Problem, QueryRefused
from bonded.results import Package, Result

__all__ = [
    "BondedError",
    "Dataset",
    "NoGrant",
    "Node",
    "Package",
    "Problem",
    "QueryRefused",
    "Result",
]
