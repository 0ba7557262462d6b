"""Strict frozen dataclasses <-> JSON, content hash, typed overrides.

A config is a frozen dataclass whose fields are bool, int, float, str, ``X | None``, tuples of those, Literals,
other config dataclasses, or a union of config dataclasses told apart by a class-level ``kind`` string
(``kind: ClassVar[str]``; it is written into the JSON as "kind").  Reading is strict: an unknown key, a missing key or
a value of the wrong type is an error that names the place, what was given and what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar, Union

from physlm.errors import UserError

T = TypeVar("T")


def to_dict(config: Any) -> Any:
    """Plain JSON-able form of ``config``; nested configs become dictionaries, tuples become lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        plain = {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
        kind = getattr(type(config), "kind", None)
        return {"kind": kind, **plain} if kind is not None else plain
    if isinstance(config, (tuple, list)):
        return [to_dict(item) for item in config]
    return config


def canonical_json(config: Any) -> str:
    """One string per content: sorted keys, no blanks, settings at their default left out.

    So a setting that a later version adds, with the old behaviour as its default, leaves every older hash as it was.
    The price: a default never changes once runs exist; a test holds all of them.
    """
    return json.dumps(_essence(config), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(config: Any) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of ``canonical_json(config)``."""
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()[:12]


def _essence(config: Any) -> Any:
    """``to_dict`` without the settings that are at their default."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        changed = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)
                   if f.default is dataclasses.MISSING or getattr(config, f.name) != f.default}
        kind = getattr(type(config), "kind", None)
        plain = {name: _essence(value) for name, value in changed.items()}
        return {"kind": kind, **plain} if kind is not None else plain
    if isinstance(config, (tuple, list)):
        return [_essence(item) for item in config]
    return config


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Build ``cls`` from its JSON form.

    Raises:
        UserError: unknown or missing key (the nearest known key is named), or a value of the wrong type.
    """
    if not isinstance(data, dict):
        raise UserError(f"{where or cls.__name__}: expected a table of settings, got {data!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    data = {key: value for key, value in data.items() if not (key == "kind" and hasattr(cls, "kind"))}
    for key in data:
        if key not in fields:
            raise UserError(unknown_key(_join(where, key), key, fields))
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _read(hints[name], data[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{_join(where, name)}: missing; {cls.__name__} needs it")
    return cls(**values)


def override(config: T, assignments: Iterable[str]) -> T:
    """Apply ``key.subkey=value`` texts, all at once; each value is read with the type that the field declares.

    Example: ``override(spec, ["train.learning_rate=3e-3", "model.layers=4"])``.
    """
    plain = to_dict(config)
    for text in assignments:
        key, sep, value = text.partition("=")
        if not sep or not key:
            raise UserError(f"override {text!r}: expected key=value, for example train.learning_rate=3e-3")
        *path, last = key.strip().split(".")
        place = plain
        for part in path:
            place = place.get(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict) or (path and not place):
            known = ", ".join(sorted(plain))
            raise UserError(f"override {text!r}: there are no settings in {'.'.join(path)!r}; settings are in {known}")
        try:
            place[last] = json.loads(value)
        except json.JSONDecodeError:
            place[last] = value.strip()
    return from_dict(type(config), plain)


def unknown_key(where: str, key: str, allowed: Iterable[str]) -> str:
    """The sentence for an unknown name: what was given, the nearest known one, all that are allowed."""
    names = sorted(allowed)
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{where}: unknown name {key!r}{hint} Allowed: {', '.join(names) or 'none, there are no names'}"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _read(hint: Any, value: Any, where: str) -> Any:
    """``value`` (parsed JSON) as an object of the annotated type ``hint``."""
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _read_union(typing.get_args(hint), value, where)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise UserError(f"{where}: got {value!r}, expected one of {', '.join(map(repr, typing.get_args(hint)))}")
        return value
    if origin is tuple:
        args = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: expected a list, got {value!r}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(args) != len(value):
            raise UserError(f"{where}: expected {len(args)} values, got {len(value)}")
        return tuple(_read(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True)))
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: expected a finite number, got {value!r}")
    if type(value) is not hint:
        raise UserError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def _read_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    kinds = {option.kind: option for option in options if hasattr(option, "kind")}
    if kinds:
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind not in kinds:
            raise UserError(f"{where}.kind: got {kind!r}, expected one of {', '.join(sorted(kinds))}")
        return from_dict(kinds[kind], value, where)
    if len(options) != 1:
        raise TypeError(f"{where}: a union of plain types is not a config type: {options}")
    return _read(options[0], value, where)
