"""For all tests: one thread, since tests run side by side; no deadlines, since machines differ; running a command."""

import io
import os
import secrets
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; the processes that tests start inherit it

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("part_checks")
settings.register_profile("physlm", deadline=None)
settings.load_profile("physlm")


@pytest.fixture(autouse=True)
def no_kept_laws(monkeypatch, tmp_path_factory):
    """Laws that one test has refitted are no other's, and none are a user's."""
    monkeypatch.setenv("PHYSLM_CACHE", str(tmp_path_factory.getbasetemp() / "cache" / secrets.token_hex(8)))


@pytest.fixture
def physlm(monkeypatch, capsys):
    """Run a command; its exit code, standard output and standard error."""
    from physlm import cli

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["physlm", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run


@pytest.fixture
def toy_claim(tmp_path, monkeypatch):
    """The current folder is one with a claim, p33_toy, whose runs train at once."""
    from toy_claim import EXPERIMENT, fake_sweep

    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "p33_toy.py").write_text(EXPERIMENT)
    (tmp_path / "runs").mkdir()
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("PHYSLM_RUNS", "PHYSLM_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PHYSLM_EXPERIMENTS", "experiments")  # as a user says that these files may be run
    monkeypatch.setattr("physlm.lab.sweep.sweep", fake_sweep)
