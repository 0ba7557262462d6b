"""What ``physlm run`` shows at its end."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from physlm.commands import running
from physlm.laws.law import Quantity


@pytest.mark.parametrize("count", [3, running.FITTED_ROWS, running.FITTED_ROWS + 7])
def test_a_long_law_is_cut_and_says_where_the_rest_is(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    quantities = [Quantity(f"share@{i}", i / 100, 0.0, 1.0, 5, "1") for i in range(count)]
    finding = SimpleNamespace(law=SimpleNamespace(quantities=quantities), verdicts=[])
    running._print_law(cast(Any, finding))
    shown = capsys.readouterr().out
    assert sum(line.startswith("share@") for line in shown.splitlines()) == min(count, running.FITTED_ROWS)
    assert ("... and 7 more" in shown) == (count > running.FITTED_ROWS)
