"""Libraries that physlm can do without: imported where they are used, and named with their install line where missing.

Importing this module imports nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from physlm.errors import UserError


def needed(module: str, extra: str) -> Any:
    """The module of a library that the extra of this name installs.

    Raises:
        UserError: the library is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise  # it is there, and something that it needs is not
        raise UserError(f"{library} is not installed, which this needs; expected pip install 'physlm[{extra}]'"
                        ) from None
