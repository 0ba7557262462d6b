"""What Depo and Brevo have in common: how many nodes a graph has, and how its nodes are called.

The number n of nodes is 3 .. N with probability proportional to 1 / (sqrt(N) + n), as in A.2 and the released code of
arXiv 2512.17351; it is drawn in 32 bits from one table, so that kernel and twin agree on every machine.

A name has ``shortest_name`` .. ``longest_name`` tokens.  Its length is uniform, and so is each token; a name that the
instance has already is drawn again, so that short names, which are few, are rarer in large graphs.  All tokens but the
last are of 1 .. V, and the last is of V + 1 .. 2 V, which tells where a name ends; names of one token leave the first
set out.  Nodes get their names in random order.

Free of torch and of numba.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from physlm.errors import UserError
from physlm.machine import cpu_cores
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.draws import as_share
from physlm.tasks.task import OnDevice

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.tasks.rows import Rows

LEAST_NODES, MOST_NODES = 3, 4096
MOST_WORDS = 8192
MOST_NAME = 14  # tokens
MOST_NAMES = 1 << 56  # of one length: a name is a number of so many bits, beside its length
MOST_ROW = 1 << 20  # tokens; a row of the shortest instances has less than ROW_INSTANCES
MOST_IDS, NO_TOKEN = 0xD800, "\uffff"  # no vocabulary has so many, which would not be characters
ROW_INSTANCES = 1 << 16  # numbers of instances that a row has for itself


def asked_hops(most: int) -> tuple[int, ...]:
    """The numbers of hops that questions are about: the powers of two below the most, and the most."""
    return (*(1 << n for n in range((most - 1).bit_length())), most)



class GraphConfig(TaskConfig):
    """What the settings of both say of graphs.

    Attributes:
        nodes: N, the most nodes of a graph in training; tests ask about exactly so many.
        shortest_name, longest_name: in tokens.
        words: V.
    """

    made_on_host: ClassVar[bool] = True

    if TYPE_CHECKING:  # fields of the members, in an order of their own

        @property
        def nodes(self) -> int: ...

        @property
        def shortest_name(self) -> int: ...

        @property
        def longest_name(self) -> int: ...

        @property
        def name_words(self) -> int: ...

        @property
        def seed(self) -> int: ...

    @property
    def words(self) -> int:
        """V, how many words end names."""
        raise NotImplementedError

    @property
    def most_nodes(self) -> int:
        """The most nodes that a graph can have: as many as there are names, and at most 4,096."""
        names = sum(self.words**length for length in range(self.shortest_name, self.longest_name + 1))
        return min(names, MOST_NODES)

    @property
    def name_tokens(self) -> int:
        """How many tokens names are made of: 1 .. this; markers follow."""
        return self.words + (self.words if self.longest_name > 1 else 0)

    def name_vocabulary(self) -> tuple[str, ...]:
        """The words of names: a1 .. aV begin them and go on, z1 .. zV end them."""
        firsts = self.name_tokens - self.words
        return (*(f"a{n + 1}" for n in range(firsts)), *(f"z{n + 1}" for n in range(self.words)))

    def names_shown(self) -> str:
        """For titles: ``names 5-7 of 4`` have 5 to 7 tokens, of 4 words each."""
        lengths = dict.fromkeys((self.shortest_name, self.longest_name))
        return f"names {'-'.join(map(str, lengths))} of {self.words}"

    def check_graphs(self, least_words: int) -> None:
        """Raises UserError for names that there cannot be, and for more nodes than names."""
        check_between(self, "shortest_name", 1, MOST_NAME)
        check_between(self, "longest_name", self.shortest_name, MOST_NAME)
        most_words = min(MOST_WORDS, math.floor(MOST_NAMES ** (1 / self.longest_name) + 1e-9))
        check_between(self, "name_words", least_words, most_words)
        named = self.most_nodes if self.name_words else MOST_NODES  # without words of its own each node is one
        check_between(self, "nodes", LEAST_NODES, named)

    def longest_instance(self, nodes: int) -> int:
        """No instance of so many nodes has more tokens."""
        raise NotImplementedError

    def asked_nodes(self, nodes: int) -> int:
        """``nodes``, or N for 0.

        Raises:
            UserError: no graph has so many.
        """
        if nodes and not LEAST_NODES <= nodes <= self.most_nodes:
            raise UserError(f"{self.kind}: got nodes = {nodes}, expected between {LEAST_NODES} and "
                            f"{self.most_nodes:,}, the names that there are")
        return nodes or self.nodes


@functools.cache
def size_shares(nodes: int) -> npt.NDArray[np.int64]:
    """For n = 3 .. N the share, in parts of 2**32, below which n or less is drawn."""
    sums = list(accumulate(1 / (math.sqrt(nodes) + n) for n in range(LEAST_NODES, nodes + 1)))
    return np.array([as_share(below / sums[-1]) for below in sums], np.int64)


class Reader:
    """Takes texts of one task apart, and knows nothing of how they were made."""

    def __init__(self, config: GraphConfig):
        firsts, all_words = config.name_tokens - config.words, config.name_tokens
        begin = f"[\\u0001-\\u{firsts:04x}]{{0,{config.longest_name - 1}}}" if firsts else ""
        self._name = re.compile(f"{begin}[\\u{firsts + 1:04x}-\\u{all_words:04x}]")

    @staticmethod
    def text(ids: npt.NDArray[Any] | Sequence[int]) -> str:
        """One character a token: strings are searched faster than lists.  What is no token reads as ``NO_TOKEN``."""
        found = np.asarray(ids, np.int64)
        known = (found >= 0) & (found < MOST_IDS)
        return np.where(known, found, ord(NO_TOKEN)).astype("<u4").tobytes().decode("utf-32-le")

    def names(self, text: str) -> list[str] | None:
        """The names that a part of a text is made of; None where it is made of something else."""
        found = self._name.findall(text)
        return found if sum(map(len, found)) == len(text) else None

    def edges(self, text: str) -> list[tuple[str, str]] | None:
        """Names by twos; None where the text is made of something else."""
        names = self.names(text)
        return None if names is None or len(names) % 2 else list(zip(names[::2], names[1::2], strict=True))


Config = TypeVar("Config", bound=GraphConfig)


class GraphTask(OnDevice[Config]):
    """What both tasks do alike, on one device; instances are made on the host."""

    def __init__(self, config: Config, device: torch.device | str = "cpu"):
        super().__init__(config, device)
        self.reader = Reader(config)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets."""
        return self._unpacked(self.host_rows(index_R.cpu().numpy(), split, stream))

    def host_rows(self, index_R: npt.NDArray[np.int64], split: str = "train", stream: int = 0) -> npt.NDArray[np.int16]:
        """The same before they are unpacked, (R, T + 1); ``HostTask``."""
        from physlm.tasks.playground import kernel

        check_split(split)
        return kernel.rows(self.config, index_R, split, stream, threads=cpu_cores())

    def _unpacked(self, packed_RW: npt.NDArray[np.int16]) -> Rows:
        import torch

        from physlm.tasks.rows import unpacked

        return unpacked(torch.from_numpy(packed_RW).to(self.device))


def tokens(packed: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """Token ids of packed ones, which say ``~id`` for what is no target."""
    return np.where(packed < 0, ~packed, packed).astype(np.int64)
