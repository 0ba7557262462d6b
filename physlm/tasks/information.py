"""How many bits a set of biographies holds, and the terms of the capacity formula.  Free of torch.

N names out of N0, log2 S bits of values for each person, and (bioD) K * D chunks, each a string of T**L:

    total = N log2(N0 / N) + N log2 S + K D log2(T**L / D)            arXiv 2404.05405, Theorem 3.2 and section 2

The first term is the published one; the exact entropy of an unordered set of names, log2 (N0 choose N), is larger
by up to N log2 e bits and is given beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class InformationTerms:
    """What the formulas need to know of a dataset.

    Attributes:
        people: N.
        names: N0, the number of possible full names.
        value_bits: log2 S, bits of values a person; N values are independent and uniform.
        chunks: K * D, the number of chunk strings that the dataset draws from (bioD), else 0.
        chunk_bits: log2(T**L / D), bits that one of them costs.
    """

    people: int
    names: int
    value_bits: float
    chunks: int = 0
    chunk_bits: float = 0.0

    def information(self) -> dict[str, float]:
        """Bits by part, the published total, and the exact entropy of the set of names."""
        name = self.people * math.log2(self.names / self.people)
        value = self.people * self.value_bits
        diversity = self.chunks * self.chunk_bits
        lgamma = math.lgamma
        exact = lgamma(self.names + 1) - lgamma(self.people + 1) - lgamma(self.names - self.people + 1)
        return {"name": name, "value": value, "diversity": diversity, "total": name + value + diversity,
                "name_set_exact": exact / math.log(2)}
