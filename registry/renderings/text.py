"""A description as text for a terminal (S3 III-D)."""

import msgspec

from registry.describe import Description
from registry.terms import compact


def render_text(described: Description) -> str:
    """Render a description of an object or a microservice as text for developers."""
    lines: list[str] = []
    if "microservice" in described:
        lines.append(f"Microservice {described['microservice']}")
        for each in described["registrations"]:
            stays = f"lease {each['lease']} s" if each["lease"] else "stays"
            state = f"live, {stays}" if each["live"] else "expired"
            where = f", {each['deployment']}" if "deployment" in each else ""
            lines.append(f"  {each['version']}/{each['instance']}: {state}, {each['owner']}{where}")
            lines += _prose(each["description"], 4)
        for obj in described["objects"]:
            lines += ["", *_object_lines(obj)]
    else:
        lines += _object_lines(described)
    return "\n".join(map(_printable, lines)) + "\n"


def _object_lines(obj: Description) -> list[str]:
    lines = [
        f"Object {obj['name']} (of {obj['owner'] or 'nobody'})",
        *_prose(obj["description"], 2),
        *_meaning_lines(obj, 2),
    ]
    if "place" in obj:
        lines.append(f"  in {compact(obj['place'])}")
    for name, method in obj["methods"].items():
        lines += [f"  Method {name}", *_prose(method["description"], 4)]
        lines += [f"    {text}" for text in _method_lines(method)]
    for name, channel in obj["channels"].items():
        lines += [f"  Channel {name}", *_prose(channel["description"], 4)]
        lines += [f"    {text}" for text in _channel_lines(channel)]
    return lines


def _method_lines(method: Description) -> list[str]:
    kind = "safe" if method["safe"] else "idempotent" if method["idempotent"] else "not idempotent"
    timeout = f", answers within {method['timeout']} ms" if method["timeout"] else ""
    lines = [*_meaning_lines(method), *_form_lines(method), f"{kind}{timeout}"]
    lines += [f"{side}: {_json(method[side])}" for side in ("input", "output") if method[side]]
    lines += _may_lines(method)
    for binding in method["bindings"]:
        health = "healthy" if binding["healthy"] else "not healthy"
        lines.append(f"bound to {binding['target']} ({health})")
    return lines if method["bindings"] else [*lines, "bound to nothing now"]


def _channel_lines(channel: Description) -> list[str]:
    limits = {"count": "events", "bytes": "bytes", "age": "seconds"}
    kept = ", ".join(
        f"{channel['retain'][key]} {unit}" for key, unit in limits.items() if channel["retain"][key]
    )
    durable = "durable" if channel["durable"] else "in memory"
    lines = [
        *_meaning_lines(channel),
        *_form_lines(channel),
        f"{durable}, keeps {kept}",
        f"slow subscribers: {channel['overflow']}",
    ]
    if channel["schema"]:
        lines.append(f"schema: {_json(channel['schema'])}")
    return lines + _may_lines(channel)


def _meaning_lines(described: Description, indent: int = 0) -> list[str]:
    types = ", ".join(map(compact, described.get("types", ())))
    return [f"{' ' * indent}is a {types}"] if types else []


def _may_lines(described: Description) -> list[str]:
    if "may" not in described:
        return []
    return [f"you may {', '.join(described['may']) or 'only read this'}"]


def _form_lines(described: Description) -> list[str]:
    return [
        f"{protocol} {form['op']}: {form['method']} {form['path']}"
        + (f" with Accept: {form['accept']}" if "accept" in form else "")
        + (f" with {form['option']}" if "option" in form else "")
        for protocol, forms in described["protocols"].items()
        for form in forms
    ]


def _prose(text: str, indent: int) -> list[str]:
    return [" " * indent + line for line in text.splitlines()]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _printable(line: str) -> str:
    """Take out what a service's words could do to a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
