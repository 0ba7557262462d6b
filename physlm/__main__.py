"""``python -m physlm`` is ``physlm``."""

from physlm.cli import main

main()
