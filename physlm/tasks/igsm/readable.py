"""One problem for readers: its structure by layers, its parameters with formulas and values, its dependency graph.

    print(description(problem))          # what ``physlm igsm show`` prints
    json.dumps(as_json(problem))         # a line of ``physlm igsm sample --json``

Free of torch and numba.
"""

from __future__ import annotations

from typing import Any

from physlm.config import to_dict
from physlm.tasks.igsm.config import BINS, TRAIN_BINS
from physlm.tasks.igsm.expressions import Expression, Product, added, combined, written
from physlm.tasks.igsm.problem import Problem
from physlm.tasks.igsm.record import CONSTANT, MORE, TIMES

MARKS = ("*", "", "-")  # needed; on the dependency graph, but not needed; a total that no sentence uses


def formula(problem: Problem, parameter: int) -> str:
    """The right side of a parameter: ``5 * (Film Studio's Gel Pen - Art Room's Gel Pen)``."""
    names = [one.name for one in problem.parameters]
    if problem.is_total(parameter):
        terms = problem.children[parameter]
        return written(added([names[edge] if total is None else Product((names[edge], names[total]))
                              for edge, total in terms]))  # fmt: skip
    made = problem.formulas[parameter]
    if made.form == CONSTANT:
        return str(made.constant)
    parts: list[Expression] = [names[dependency] for dependency in made.dependencies]
    body = combined(parts[0], "-", parts[1]) if made.difference else added(parts)
    if made.form in (MORE, TIMES):
        body = combined(made.constant, "+" if made.form == MORE else "*", body)
    return written(body)


def text(problem: Problem) -> str:
    """The problem with the noise of its settings."""
    return problem.text(noise=problem.config.noise)


def solution(problem: Problem) -> str:
    """With the wrong starts of the problem's settings, and without what they leave out."""
    retry = problem.config.retry
    return problem.solution(retry if retry.rate else None, problem.config.chain)


def as_json(problem: Problem) -> dict[str, Any]:
    """All that is known of a problem, as JSON has it; parameters are called by their names."""
    names = [one.name for one in problem.parameters]
    return {
        "problem": text(problem), "solution": solution(problem), "answer": problem.answer, "op": problem.op,
        "ip": problem.ip, "modulus": problem.modulus, "retry": problem.config.retry.rate,
        "chain": to_dict(problem.config.chain),
        "template": f"{int(problem.record['template']):016x}", "bin": int(problem.record["bin"]),
        "query": names[problem.query],
        "parameters": {
            name: {"value": problem.values[number], "formula": formula(problem, number),
                   "dependencies": _dependencies(problem, number), "total": problem.is_total(number),
                   "needed": bool(problem.nece_P[number]), "graph": bool(problem.graph_P[number])}
            for number, name in enumerate(names)
        },
        "needed": [names[number] for number in problem.needed],
        "order": [names[number] for number in problem.order],
        "sentences": [names[number] for number in problem.sentences],
        "layers": [{"category": category, "items": list(items)} for category, items in problem.layers],
    }  # fmt: skip


def description(problem: Problem) -> str:
    """Everything about a problem as text, in sections."""
    record = problem.record
    use = ", for training" if int(record["bin"]) < TRAIN_BINS else ", for tests"
    use = use if len(problem.config.bins("train", problem.op)) < BINS else ""
    needed = f"{len(problem.needed)} of {len(problem.graph)} parameters needed"
    sections = [
        f"{problem.config.title}: op {problem.op}, ip {problem.ip}, {needed}, modulo {problem.modulus}",
        "Structure graph, by layers (category: item and what it contains)\n" + _structure(problem),
        "Parameters (* needed, - a total that no sentence uses), in an order in which they can be computed\n"
        + _parameters(problem),
        "Dependency graph, from the query down (a parameter's own needs stand at its first place)\n" + tree(problem),
        f"Problem\n  {text(problem)}",
        "Solution\n" + "".join(f"  {line}.\n" for line in solution(problem).removesuffix(".").split(". "))
        + f"  answer {problem.answer}",
        f"Template, hash {int(record['template']):016x}, bin {int(record['bin'])}{use}\n  "
        + problem.template().strip(),
    ]
    return "\n\n".join(sections)


def tree(problem: Problem) -> str:
    """The needed parameters with their values, each indented under one that is computed from it."""
    lines: list[str] = []
    told: set[int] = set()
    open_ = [(problem.query, 1)]
    while open_:
        parameter, depth = open_.pop()
        needs = _ordered(problem, parameter)
        again = " (above)" if parameter in told and needs else ""
        lines.append(f"{'  ' * depth}{problem.parameters[parameter].name} = {problem.values[parameter]}{again}")
        if parameter not in told:
            told.add(parameter)
            open_ += [(need, depth + 1) for need in reversed(needs)]
    return "\n".join(lines)


def _ordered(problem: Problem, parameter: int) -> list[int]:
    """What a parameter is computed from at once, in the order of its formula."""
    if not problem.is_total(parameter):
        return list(problem.formulas[parameter].dependencies)
    return [part for term in problem.children[parameter] for part in term if part is not None]


def _dependencies(problem: Problem, parameter: int) -> list[str]:
    return [problem.parameters[need].name for need in _ordered(problem, parameter)]


def _structure(problem: Problem) -> str:
    contained: dict[str, list[str]] = {}
    for edge in range(problem.ip):
        contained.setdefault(problem.parameters[edge].owner, []).append(problem.parameters[edge].owned)
    lines = []
    for category, items in problem.layers:
        lines.append(f"  {category}")
        lines += [f"    {item}" + (f": {', '.join(contained[item])}" if item in contained else "") for item in items]
    return "\n".join(lines)


def _parameters(problem: Problem) -> str:
    rows = []
    for number in problem.order:
        mark = MARKS[0] if problem.nece_P[number] else MARKS[1] if problem.graph_P[number] else MARKS[2]
        name = problem.parameters[number].name
        rows.append((mark, name, str(problem.values[number]), formula(problem, number)))
    wide = max(len(name) for _, name, _, _ in rows)
    high = len(str(problem.modulus - 1))
    return "\n".join(f"{mark:>1} {name:{wide}} = {value:>{high}}" + ("" if value == right else f" = {right}")
                     for mark, name, value, right in rows)  # fmt: skip
