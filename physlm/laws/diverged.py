"""Runs that diverged: no number comes from them, and every law, figure and verdict says how many they were.

A law is fitted to the table of the other runs, so that its n counts these alone.  ``details["diverged"]`` names the
rest:

    {"runs": 12, "reasons": {"bioS-2-1x32-...": "its loss is not finite from step 40 of 1,000 on", ...}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from physlm.laws.law import Law


def with_diverged(law: Law, runs: int, reasons: Mapping[str, str]) -> Law:
    """The law, saying that of ``runs`` runs those with a reason diverged; as it is where none did."""
    if not reasons:
        return law
    return replace(law, details={**law.details, "diverged": {"runs": runs, "reasons": dict(reasons)}})


def still_diverged(law: Law, before: Law) -> Law:
    """A law that was refitted, from a table without the runs that diverged, with what the one before says of them."""
    found = before.details.get("diverged")
    return law if found is None else replace(law, details={**law.details, "diverged": found})


def diverged_runs(law: Law | None) -> dict[str, str]:
    """By the names of the runs that diverged, why."""
    found = {} if law is None else law.details.get("diverged", {}).get("reasons", {})
    return {str(name): str(reason) for name, reason in found.items()}


def diverged_sentence(law: Law | None) -> str:
    """``2 of 12 runs diverged and are left out``; nothing where none did."""
    count = len(diverged_runs(law))
    if law is None or not count:
        return ""
    return f"{count} of {law.details['diverged']['runs']} runs diverged and {'is' if count == 1 else 'are'} left out"
