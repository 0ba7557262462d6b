"""Libraries that physlm can do without: their tests skip where they are missing, unless they were asked for.

``PHYSLM_EXTRAS=hf,parquet`` says which extras are installed: then what is missing is an error.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def of_extra(module: str, extra: str) -> Any:
    """The module, or the rest of the file is skipped."""
    if extra in os.environ.get("PHYSLM_EXTRAS", "").split(","):
        return importlib.import_module(module)
    return pytest.importorskip(module, reason=f"needs the extra {extra}: pip install 'physlm[{extra}]'")
