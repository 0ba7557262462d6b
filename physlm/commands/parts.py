"""The command model parts: which parts there are, what can be set, what they weigh and what they remember."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import Annotated

import typer

from physlm.commands import terminal
from physlm.commands.options import SetOption, command, printable
from physlm.config import override, unknown_key
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.listing import block_slots
from physlm.models.parts.part import MLP, Local, Mixer, NormPart, Parallel, Part, Residual, Route

Family = type[Mixer] | type[MLP] | type[NormPart] | type[Local] | type[Residual] | type[Route] | type[Parallel]

FAMILIES: dict[str, Family] = {
    "mixer": Mixer, "mlp": MLP, "norm": NormPart, "local": Local, "residual": Residual, "route": Route,
    "parallel": Parallel}  # fmt: skip
_MOST_INDENT = 51  # of lines that go on: where formulas begin
_SINGLE = ("norm", "residual", "route", "parallel")  # one for all layers


@command
def parts(
    family: Annotated[str | None, typer.Argument(metavar="FAMILY", help=f"{', '.join(FAMILIES)}.")] = None,
    width: Annotated[int, typer.Option("--width", metavar="N", min=1,
                                       help="Of the model whose numbers are shown.")] = 256,
    heads: Annotated[int, typer.Option("--heads", metavar="N", min=1, help="Of it.")] = 8,
    tokens: Annotated[int, typer.Option("--tokens", metavar="N", min=1, help="Of a row that it has read.")] = 512,
    settings: SetOption = None,
) -> None:
    """List the parts of models (mixers such as attention, gla or deltanet; MLPs; norms) with their settings.

    \b
    Parameters are those of one layer; the state is what one row leaves for the next token. Examples:
      physlm model parts
      physlm model parts mixer --width 512 --heads 8 --tokens 2048
      physlm model parts mixer --set levels=10
    With --set those that have such a setting are listed, with it.
    A setting is changed by --set model.mixer=gla, or --set 'model.mixer={"kind": "gla", "gate": "scalar"}'.
    """
    if family is not None and family not in FAMILIES:
        raise UserError(unknown_key("FAMILY", family, tuple(FAMILIES)))
    chosen = {name: _chosen(FAMILIES[name], settings) for name in (FAMILIES if family is None else (family,))}
    if settings and not any(chosen.values()):
        raise UserError(f"--set: got {', '.join(settings)}, expected settings that a part has; "
                        "physlm model parts lists them")
    print(f"one layer, {width} wide, {heads} heads, rows of {tokens} tokens")
    for name, found in chosen.items():
        if not found and settings:
            continue
        print(f"\nmodel.{name}{'parameters':>{28 - len(name)}} {'state, numbers':>15}")
        for part in found:
            fields = dataclasses.fields(part)  # type: ignore[arg-type]
            shown = ", ".join(f"{field.name}={_shown(getattr(part, field.name))}" for field in fields)
            print(_hanging(f"  {part.kind:<20}{_numbers(name, part, width, heads, tokens)}  ", _formula(part)))
            print(_hanging("      ", shown or "no settings"))


def _hanging(begin: str, text: str) -> str:
    """A text behind its beginning, in lines that fit and stand below each other."""
    indent = " " * min(len(begin), _MOST_INDENT)
    return "\n".join(textwrap.wrap(begin + text, terminal.width(), subsequent_indent=indent, break_on_hyphens=False))


def _chosen(family: Family, settings: list[str] | None) -> list[Part]:
    """The parts that have all these settings, with them."""
    named, found = {text.partition("=")[0].strip() for text in settings or ()}, []
    for kind in family.kinds():
        part: Part = family.of_kind(kind)()
        if named <= {field.name for field in dataclasses.fields(part)}:  # type: ignore[arg-type]
            found.append(override(part, settings or ()))
    return found


def _numbers(name: str, part: Part, width: int, heads: int, tokens: int) -> str:
    """Parameters and state, or why it has none here."""
    setting = part if name in _SINGLE else (part,)
    try:
        model = ModelConfig(layers=2, heads=heads, width=width, **{name: setting})  # type: ignore[arg-type]
    except UserError as error:
        return printable(str(error))
    slots = [slot for slot in block_slots(model, 1).values() if slot.part == part]
    weights = sum(weight.numbers for slot in slots for weight in slot.weights)
    if isinstance(part, Parallel):  # prefixes are with the mixer, what merges with the model
        prefix = part.prefix_weights(width) if part.prefix else ()
        weights = sum(weight.numbers for weight in (*part.weights(model), *prefix))
    state = sum(math.prod(one.shape) for slot in slots for one in slot.state(model, tokens, False))
    return f"{weights:>12,} {state:>15,}"


def _formula(part: Part) -> str:
    """The first paragraph of its docstring, which is no markup here."""
    text = (type(part).__doc__ or "").split("\n\n")[0].replace("``", "")
    return " ".join(text.split()).removesuffix(":")


def _shown(value: object) -> str:
    if isinstance(value, Part):
        return value.label
    if isinstance(value, bool):  # as --set takes it
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
