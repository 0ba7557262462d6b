"""What Depo and Brevo have in common: kernel and twin bit for bit, the law of n, names, and what is refused."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from physlm.errors import UserError
from physlm.tasks.igsm.compiled.layout import WORK
from physlm.tasks.playground import kernel, plain
from physlm.tasks.playground.brevo import BREVO1, BREVO2, BrevoConfig
from physlm.tasks.playground.depo import DEPO1, DEPO2, DepoConfig
from physlm.tasks.playground.graphs import GraphConfig, Reader, size_shares, tokens

SMALL_DEPO = DepoConfig(9, hops=5, row_tokens=300)
MANY_NAMES = BrevoConfig(6, 1, 14, 16, 600, seed=2)
EVERY: list[GraphConfig] = [
    *DEPO1.values(), *DEPO2.values(), *BREVO1.values(), *BREVO2.values(), SMALL_DEPO, MANY_NAMES,
    DepoConfig(3, 1, 1, 1, 3, 1, 20), DepoConfig(20, 3, 2, 2, 5, 99, 201, 1), BrevoConfig(3, row_tokens=40),
    BrevoConfig(6, 1, 3, 2, 200)]  # fmt: skip


def ident(config: GraphConfig) -> str:
    return f"{config.title} {config.row_tokens}"


@pytest.mark.parametrize("config", EVERY, ids=ident)
def test_twin_and_kernel_are_equal_bit_for_bit(config: GraphConfig) -> None:
    key = kernel.stream_key(config, "validation", 3)
    numbers = [*range(12), 12345, 2**40 + 3]
    settings = [(0, 0, 0), (config.nodes, 1, 0), (3, 0, 1)]
    for nodes, hop, queries in settings:
        made = kernel.instances(config, numbers, "validation", 3, nodes, hop, queries)
        for number, row, length, label in zip(numbers, made.ids_NW, made.lengths_N, made.labels_N, strict=True):
            twin = (plain.depo(config, key, number, nodes, hop, queries) if isinstance(config, DepoConfig) else
                    plain.brevo(config, key, number, nodes))  # fmt: skip
            assert row[:length].tolist() == twin.packed() and not row[length:].any() and label == twin.label
    rows = kernel.rows(config, [0, 5, 2**40], "validation", 3)
    assert [row.tolist() for row in rows] == [plain.row(config, key, number) for number in (0, 5, 2**40)]


@pytest.mark.parametrize("config", [SMALL_DEPO, BREVO2[30]], ids=ident)
def test_rows_are_the_same_in_any_company_and_on_any_number_of_threads(config: GraphConfig) -> None:
    whole = kernel.rows(config, np.arange(70))
    assert np.array_equal(kernel.rows(config, np.arange(70)[::-1], threads=3), whole[::-1])
    assert np.array_equal(kernel.rows(config, [17])[0], whole[17])
    assert kernel.rows(config, []).shape == (0, config.row_tokens + 1)
    assert kernel.instances(config, []).ids_NW.shape == (0, 0)


def test_kept_machine_code_is_never_out_of_date() -> None:
    root = Path(kernel.__file__).parents[3]
    taken = set()
    for node in ast.walk(ast.parse(Path(kernel.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("physlm.tasks"):
            names = [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]
            taken |= {root / f"{name.replace('.', '/')}.py" for name in names}
    taken = {path for path in taken if path.exists() and path.name != "depo.py"}  # of that only settings
    assert len(taken) >= 3 and taken <= set(kernel.SOURCES)


def test_no_record_of_one_generator_is_a_kind_of_that_of_another() -> None:
    """Else numba warns, and compiled code of the one serves the other."""
    records = [{(name, record.fields[name][1]) for name in record.names} for record in (kernel.STREAM, WORK)
               if record.fields and record.names]  # fmt: skip
    assert len(records) == 2 and not records[0] <= records[1] and not records[1] <= records[0]


@pytest.mark.parametrize(("nodes", "mean"), [(375, 110), (300, 90), (225, 70), (125, 42), (100, 35), (75, 28)])
def test_the_law_of_n_has_the_published_means(nodes: int, mean: float) -> None:
    shares = np.diff(size_shares(nodes), prepend=0) / 2**32
    n = np.arange(3, nodes + 1)
    assert shares.sum() == 1 and shares @ n == pytest.approx(mean, abs=0.75)
    assert shares * (np.sqrt(nodes) + n) == pytest.approx(shares[0] * (np.sqrt(nodes) + 3), rel=1e-5)
    assert 0.0008 < shares[-1] < 0.0065


def test_n_follows_its_law() -> None:
    config, count = DepoConfig(12, 1, 1, 1, 12, 1, 100), 20_000
    made = kernel.instances(config, np.arange(count))
    n = (made.lengths_N - 5) // 2  # <bos>, n edges of two names, <query_1>, name, <ans>, name
    shares = np.diff(size_shares(12), prepend=0) / 2**32
    found = np.bincount(n, minlength=13)[3:]
    assert len(found) == 10 and (abs(found - count * shares) < 5 * np.sqrt(count * shares)).all()


@pytest.mark.parametrize(("config", "mean", "full"), [
    (DEPO1[375], 433, 1458), (DEPO1[300], 358, 1158), (DEPO1[225], 285, 859),
    (DEPO2[125], 631, 1643), (DEPO2[100], 561, 1341), (DEPO2[75], 450, 1041),
    # the published code asks for the last node only: 5 or fewer nodes more in an answer, and <eos> before <bos>
    (BREVO1[110], None, 525 - 6), (BREVO1[90], None, 425 - 4), (BREVO1[70], None, 338 - 5),
    (BREVO2[50], None, 758 - 10), (BREVO2[40], None, 608 - 7), (BREVO2[30], None, 452 - 7)], ids=str)  # fmt: skip
def test_instances_have_the_published_lengths(config: GraphConfig, mean: float | None, full: float) -> None:
    made = kernel.instances(config, np.arange(2000), nodes=config.nodes).lengths_N
    assert made.mean() == pytest.approx(full, abs=2 + 5 * made.std() / 2000**0.5)
    assert made.max() <= config.longest_instance(config.nodes) and made.max() <= config.row_tokens
    drawn = kernel.instances(config, np.arange(8000)).lengths_N
    assert mean is None or drawn.mean() == pytest.approx(mean, abs=5 + 4 * drawn.std() / 8000**0.5)


def names_of(config: GraphConfig, nodes: int, count: int) -> list[list[str]]:
    """The names of each of ``count`` instances, in the order in which edges show them."""
    reader, found = Reader(config), []
    for row in tokens(kernel.instances(config, np.arange(count), nodes=nodes).ids_NW):
        head = row[1 : 1 + int((row[1:] > config.name_tokens).argmax())]
        names = reader.names(reader.text(head))
        assert names is not None
        found.append(list(dict.fromkeys(names)))
    return found


def test_names_are_distinct_uniform_and_given_at_random() -> None:
    config = DepoConfig(12, 1, 1, 3, 3, 1, 200)  # 3 + 9 + 27 names
    found = names_of(config, 12, 4000)
    assert all(len(set(names)) == len(names) == 12 for names in found)
    lengths = Counter(len(name) for names in found for name in names)
    assert lengths[1] < lengths[2] < lengths[3], "short names run out"
    for length in (1, 2, 3):
        each = Counter(name for names in found for name in names if len(name) == length)
        mean = sum(each.values()) / 3**length
        assert len(each) == 3**length and all(abs(count - mean) < 5 * mean**0.5 for count in each.values())
    few = names_of(config, 3, 4000)
    assert Counter(len(name) for names in few for name in names)[1] > 3000, "not yet in small graphs"


def test_the_successor_of_a_short_name_is_no_shorter_than_others() -> None:
    """Short names are drawn early; in a cycle in the order of the draws they would stand side by side."""
    config = DepoConfig(12, 1, 1, 2, 4, 1, 200)  # 4 + 16 names
    reader, pairs = Reader(config), Counter[tuple[int, int]]()
    for row in tokens(kernel.instances(config, np.arange(4000), nodes=12).ids_NW):
        head = row[1 : 1 + int((row[1:] > config.name_tokens).argmax())]
        pairs.update((len(a), len(b)) for a, b in reader.edges(reader.text(head)) or ())
    short = (pairs[1, 1] + pairs[1, 2]) / 48_000
    # one short name fewer is left among the 11 others
    expected = sum(count * (s * (s - 1) / 11) for s, count in Counter(
        sum(len(name) == 1 for name in names) for names in names_of(config, 12, 4000)).items()) / 48_000  # fmt: skip
    assert pairs[1, 1] / 48_000 == pytest.approx(expected, abs=5 * (expected / 48_000) ** 0.5) and 0.2 < short < 0.4


@pytest.mark.parametrize(("make", "message"), [
    (lambda: DepoConfig(2), r"task\.nodes: got 2, expected between 3 and 4,096"),
    (lambda: DepoConfig(31, 4, 1, 2, 5), r"task\.nodes: got 31, expected between 3 and 30"),
    (lambda: DepoConfig(50, 51), r"task\.hops: got 51, expected between 1 and 50"),
    (lambda: DepoConfig(50, 0), r"task\.hops: got 0, expected between 1 and 50"),
    (lambda: DepoConfig(queries=0), r"task\.queries: got 0, expected at least 1"),
    (lambda: DepoConfig(name_words=0), r"task\.name_words: got 0, expected between 1 and 256"),
    (lambda: DepoConfig(name_words=257), r"task\.name_words: got 257, expected between 1 and 256"),
    (lambda: DepoConfig(shortest_name=8), r"task\.longest_name: got 7, expected between 8 and 14"),
    (lambda: DepoConfig(longest_name=15), r"task\.longest_name: got 15, expected between 5 and 14"),
    (lambda: DepoConfig(row_tokens=1210), r"task\.row_tokens: got 1210, expected between 1211 and"),
    (lambda: BrevoConfig(2), r"task\.nodes: got 2, expected between 3 and 4,096"),
    (lambda: BrevoConfig(5000), r"task\.nodes: got 5000, expected between 3 and 4,096"),
    (lambda: BrevoConfig(21, 1, 2, 4), r"task\.nodes: got 21, expected between 3 and 20"),
    (lambda: BrevoConfig(longest_name=2), r"task\.longest_name: got 1 \.\. 2 tokens .*name_words = 0, expected 1"),
    (lambda: BrevoConfig(row_tokens=423), r"task\.row_tokens: got 423, expected between 424 and"),
    (lambda: SMALL_DEPO.build().prompts(3, nodes=2), r"depo: got nodes = 2, expected between 3 and 4,096"),
    (lambda: SMALL_DEPO.build().prompts(3, nodes=5000), r"depo: got nodes = 5000, expected between 3 and 4,096"),
    (lambda: SMALL_DEPO.build().prompts(3, hop=6), r"depo: got hop = 6 on 9 nodes, expected between 1 and 5"),
    (lambda: SMALL_DEPO.build().prompts(3, nodes=4, hop=5), r"hop = 5 on 4 nodes, expected between 1 and 4"),
    (lambda: SMALL_DEPO.build().prompts(3, hop=-1), r"depo: got hop = -1 on 9 nodes, expected between 1 and 5"),
    (lambda: SMALL_DEPO.build().prompts(3, "test"), "split: unknown name 'test'"),
    (lambda: SMALL_DEPO.build().test_rows(3, nodes=40), r"nodes = 40 in windows of 300 tokens, expected row_tokens"),
    (lambda: BREVO1[70].build().prompts(3, nodes=71), r"brevo: got nodes = 71, expected between 3 and 70"),
    (lambda: BREVO2[30].build().prompts(3, nodes=337), r"brevo: got nodes = 337, expected between 3 and 336"),
])  # fmt: skip
def test_what_cannot_be_is_refused_with_the_allowed_range(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()  # type: ignore[operator]
