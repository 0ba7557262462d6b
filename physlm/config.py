"""Strict frozen dataclasses <-> JSON, content hash, typed overrides.

A config is a frozen dataclass whose fields are bool, int, float, str, ``X | None``, tuples of those, Literals,
other config dataclasses, or a union or a ``Family`` of config dataclasses told apart by a class-level ``kind`` string
(``kind: ClassVar[str]``; it is written into the JSON as "kind").  Reading is strict: an unknown key, a missing key or
a value of the wrong type is an error that names the place, what was given and what is allowed.  Two short forms are
read besides: the kind alone for a member of a family with its defaults, and one item for a tuple of one.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pkgutil import resolve_name
from typing import Any, ClassVar, Self, TypeVar, Union

from physlm.errors import UserError, counted, shown

T = TypeVar("T")

_MOST = 1 << 63  # whole numbers fit into 64 bits, as everywhere behind the settings
_SHOWN, _NEAREST = 40, 5  # names that an error lists, of so many at most; else the nearest
_EXPECTED = {bool: "true or false", int: "int", float: "float", str: 'str, such as "text"'}


class UnknownKind(UserError):
    """No member of a family is of this kind, as far as files have been loaded."""


class Family:
    """Config dataclasses of one sort, told apart by ``kind``; a file outside of the package may add members.

    A family is a direct subclass: a setting annotated with it holds any of its members.  A member is a subclass of the
    family with a ``kind``; it is known from its definition on.  Those of the package stand in ``table``, so that they
    are imported only when they are asked for.

        class Animal(Family):
            table = {"cat": "zoo.cat:Cat"}

        @dataclass(frozen=True)
        class Dog(Animal):
            kind: ClassVar[str] = "dog"

    Attributes:
        table: kind -> "module:Class".
    """

    table: ClassVar[Mapping[str, str]] = {}
    kind: ClassVar[str]
    _members: ClassVar[dict[str, type]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if Family in cls.__bases__:
            cls._members = {}
        elif "kind" in cls.__dict__:
            cls._join()

    @classmethod
    def _join(cls) -> None:
        """Make the class known under its kind.  A file that is loaded again replaces its own class."""
        path = f"{cls.__module__}:{cls.__qualname__}"
        known = cls._members.get(cls.kind)
        taken = cls.table.get(cls.kind, path) if known is None else f"{known.__module__}:{known.__qualname__}"
        if taken != path:
            raise UserError(f"kind {cls.kind!r} of {path}: it is the kind of {taken}; expected another one")
        cls._members[cls.kind] = cls

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Those of the package, and those that were defined elsewhere."""
        return tuple(dict.fromkeys((*cls.table, *cls._members)))

    @classmethod
    def of_kind(cls, kind: object, where: str = "") -> type[Self]:
        """The member of this kind.

        Raises:
            UnknownKind: there is none; the nearest kind is named.
        """
        if not isinstance(kind, str) or kind not in cls.kinds():
            raise UnknownKind(unknown_key(_join(where, "kind"), kind, cls.kinds()))
        if kind not in cls._members:  # its module may have been imported while other members were in place of these
            cls._members[kind] = resolve_name(cls.table[kind])
        member: type[Self] = cls._members[kind]
        return member


def to_dict(config: Any) -> Any:
    """Plain JSON-able form of ``config``; nested configs become dictionaries, tuples become lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        plain = {f.name: to_dict(value) for f, value in _settings(config)}
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
        changed = {f.name: value for f, value in _settings(config)
                   if f.default is dataclasses.MISSING or value != f.default}
        kind = getattr(type(config), "kind", None)
        plain = {name: _essence(value) for name, value in changed.items()}
        return {"kind": kind, **plain} if kind is not None else plain
    if isinstance(config, (tuple, list)):
        return [_essence(item) for item in config]
    return config


def _settings(config: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    """The fields of a config and their values, as they will be read back: ``Attention(rope=0)`` has 0.0."""
    hints = _hints(type(config))  # type: ignore[arg-type]  # mypy: a class of anything might not be hashable
    return [(f, _as_declared(hints[f.name], getattr(config, f.name))) for f in dataclasses.fields(config)]


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _as_declared(hint: Any, value: Any) -> Any:
    """Whole numbers as floats where a float is declared."""
    if type(value) is int and (hint is float or float in typing.get_args(hint)):
        return float(value)
    if isinstance(value, tuple) and typing.get_origin(hint) is tuple:
        args = typing.get_args(hint)
        each = args[:1] * len(value) if args[1:] == (Ellipsis,) else args
        return tuple(_as_declared(one, item) for one, item in zip(each, value, strict=False)) or value
    return value


def check_choices(config: Any, where: str) -> None:
    """Refuse a setting that is none of the texts that it may be, also in the configs within.

    What is read from JSON is refused by ``from_dict``; this is for configs that were written in Python, where a slip
    such as ``learnt_scale="heads"`` would mean nothing.

    Raises:
        UserError: place, value and choices are named.
    """
    hints = _hints(type(config))  # type: ignore[arg-type]  # as in ``_settings``
    for field in dataclasses.fields(config):
        value, place = getattr(config, field.name), _join(where, field.name)
        if typing.get_origin(hints[field.name]) is typing.Literal:
            _check_choice(hints[field.name], value, place)
        for number, item in enumerate(value if isinstance(value, tuple) else (value,)):
            if dataclasses.is_dataclass(item):
                check_choices(item, f"{place}[{number}]" if isinstance(value, tuple) else place)


def _check_choice(hint: Any, value: Any, where: str) -> None:
    allowed = typing.get_args(hint)
    if value not in allowed:
        raise UserError(f"{where}: got {shown(value)}, expected one of {', '.join(map(repr, allowed))}")


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Build ``cls`` from its JSON form.

    Raises:
        UserError: unknown or missing key (the nearest known key is named), or a value of the wrong type.
    """
    if not isinstance(data, dict):
        raise UserError(f"{where or cls.__name__}: expected a table of settings, got {shown(data)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = _hints(cls)  # type: ignore[arg-type]
    kind = getattr(cls, "kind", None)
    if kind is not None and data.get("kind", kind) != kind:
        raise UserError(f"{_join(where, 'kind')}: got {shown(data['kind'])}, expected {kind!r}")
    data = {key: value for key, value in data.items() if not (key == "kind" and kind is not None)}
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

    A key that leads through a tuple of configs changes all of them.

    Example: ``override(spec, ["train.learning_rate=3e-3", "model.layers=4"])``.
    """
    plain = to_dict(config)
    for text in assignments:
        key, sep, value = text.partition("=")
        if not sep or not key:
            raise UserError(f"override {shown(text)}: expected key=value, for example train.learning_rate=3e-3")
        *path, last = key.strip().split(".")
        places = [plain]
        for part in path:
            inner = [place.get(part) for place in places]
            places = [item for found in inner for item in (found if isinstance(found, list) else [found])]
            if not places or not all(isinstance(place, dict) and place for place in places):
                raise UserError(f"override {shown(text)}: there are no settings in {shown('.'.join(path))}; settings "
                                f"are in {', '.join(sorted(plain))}")
        try:
            given = json.loads(value)
        except (ValueError, RecursionError):  # no JSON, numbers of thousands of digits, brackets without end
            given = value.strip()
        for place in places:
            place[last] = given
    return from_dict(type(config), plain)


def unknown_key(where: str, key: object, allowed: Iterable[str], listed: str = "") -> str:
    """The sentence for an unknown name: what was given, the nearest known one, and all that are allowed.

    Of more than ``_SHOWN`` names only the nearest are shown, and ``listed``, a command that lists them all.
    """
    names = sorted(set(allowed))
    near = difflib.get_close_matches(key, names, n=1) if isinstance(key, str) else []
    start = f"{where}: unknown name {shown(key)}{f'; did you mean {near[0]!r}?' if near else '.'}"
    if len(names) <= _SHOWN:
        return f"{start} Allowed: {', '.join(names) or 'none, there are no names'}"
    nearest = names[:_NEAREST]
    if isinstance(key, str):
        nearest = difflib.get_close_matches(key, names, n=_NEAREST, cutoff=0.0)
    more = f"; {listed} lists all" if listed else ""
    return f"{start} Allowed: {len(names)} names, such as {', '.join(nearest)}{more}"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _read(hint: Any, value: Any, where: str) -> Any:
    """``value`` (parsed JSON) as an object of the annotated type ``hint``."""
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, Family) and Family in hint.__bases__:
        plain = {"kind": value} if isinstance(value, str) else value
        kind = plain.get("kind") if isinstance(plain, dict) else plain
        return from_dict(hint.of_kind(kind, where), plain, where)
    if origin in (Union, types.UnionType):
        return _read_union(typing.get_args(hint), value, where)
    if origin is typing.Literal:
        _check_choice(hint, value, where)
        return value
    if origin is tuple:
        args = typing.get_args(hint)
        if isinstance(value, (str, dict)) and isinstance(args[0], type) and issubclass(args[0], Family):
            value = [value]
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: expected a list, got {shown(value)}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(args) != len(value):
            raise UserError(f"{where}: expected {counted(len(args), 'value')}, got {len(value)}")
        return tuple(_read(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True)))
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if isinstance(value, int) and not -_MOST <= value < _MOST:
        raise UserError(f"{where}: expected a number between -2^63 and 2^63 - 1, got {shown(value)}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: expected a finite number, got {value!r}")
    if type(value) is not hint:
        raise UserError(f"{where}: expected {_EXPECTED.get(hint, hint)}, got {shown(value)}")
    return value


def _read_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    kinds = {option.kind: option for option in options if hasattr(option, "kind")}
    if kinds:
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise UserError(f"{where}.kind: got {shown(kind)}, expected one of {', '.join(sorted(kinds))}")
        return from_dict(kinds[kind], value, where)
    if len(options) != 1:
        raise TypeError(f"{where}: a union of plain types is not a config type: {options}")
    return _read(options[0], value, where)
