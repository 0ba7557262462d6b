"""The one step of the build that pyproject.toml cannot say: a wheel brings the claims and what was found.

    experiments/*.py                 -> physlm/_installed/experiments/
    results/<claim>/measures.csv     -> physlm/_installed/results/<claim>/measures.csv.gz   (a twentieth of the size)
    the other files of <claim>       -> physlm/_installed/results/<claim>/

``physlm.lab.folders`` finds them there.  A checkout, also where it is installed as editable, has no copy.
"""

import gzip
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FILES = ("law.json", "VERDICT.md", "env.json", "figure.png")


class BuildWithClaims(build_py):
    """``build_py``, and then the experiments and results."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            bring_claims(Path(self.build_lib) / "physlm" / "_installed")


def bring_claims(target: Path) -> None:
    """Copy the experiments and results under ``target``, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "experiments", target / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    for law in sorted((ROOT / "results").glob("*/law.json")):
        folder = target / "results" / law.parent.name
        folder.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(law.parent / name, folder / name)
        # no time in it, so that equal tables are equal files
        (folder / "measures.csv.gz").write_bytes(gzip.compress((law.parent / "measures.csv").read_bytes(), mtime=0))


setup(cmdclass={"build_py": BuildWithClaims})
