"""A description as one HTML page that needs no script (S3 III-D): for developers, in a browser."""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

import msgspec

from registry.describe import Description
from registry.renderings.calls import Example, calls_of, events_of
from registry.renderings.marks import chips, code, definitions, prose, table, term, terms, text
from registry.renderings.schema_rows import Row, rows_of
from registry.renderings.shown import Shown, path_of
from registry.renderings.style import STYLE

LISTED: Final = 300
"""Members that the table of contents names; the objects are all in it."""
_FORMATS: Final = {
    "text": "Text",
    "json": "JSON",
    "td": "Thing Description",
    "turtle": "Turtle",
    "rdfxml": "RDF/XML",
    "openapi": "OpenAPI",
    "asyncapi": "AsyncAPI",
}
_PLACES: Final = {
    "device": "on a device",
    "edge": "at the edge",
    "fog": "in the fog",
    "cloud": "in the cloud",
}


def render_html(shown: Shown) -> bytes:
    """Render a page; its Content-Security-Policy is ``registry.renderings.style.POLICY``."""
    title = text(f"{shown.title} - {shown.authority}")
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer"><style>{STYLE}</style></head>
<body><div class="page">{_head(shown)}{_contents(shown)}
<main>{"".join(_object(shown, obj) for obj in shown.objects) or _NOTHING}</main>
<footer>What the site {text(shown.authority)} knows now, as far as you may describe it. It asks
policy again at each call.</footer></div></body></html>
"""
    return page.encode("utf-8", "replace")


_NOTHING: Final = '<p class="soft">It offers no object that you may describe.</p>'


# The top


def _head(shown: Shown) -> str:
    kind = "Microservice" if "microservice" in shown.described else "Virtual object"
    formats = "".join(f'<a href="?format={key}">{says}</a>' for key, says in _FORMATS.items())
    about = prose(shown.summary, "prose lead") if shown.registrations else ""
    return f"""<header><p class="crumb">{kind} at {text(shown.authority)}</p>
<h1>{text(shown.title)}</h1>{about}{chips(_facts(shown))}{_registrations(shown)}
<nav class="formats" aria-label="Other formats"><span class="soft">Also as</span>{formats}</nav>
</header>"""


def _facts(shown: Shown) -> Iterator[tuple[str, str]]:
    found = shown.registrations
    if found:
        live = any(each["live"] for each in found)
        yield ("good", "live") if live else ("bad", "expired")
        yield "", f"version {text(shown.version)}"
        places = dict.fromkeys(each["deployment"] for each in found if "deployment" in each)
        for place in places:
            yield "", f"runs {_PLACES[place]}"
        yield "", _count(len(shown.objects), "object")
    yield "", _count(sum(len(obj["methods"]) for obj in shown.objects), "method")
    yield "", _count(sum(len(obj["channels"]) for obj in shown.objects), "channel")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _registrations(shown: Shown) -> str:
    found = shown.registrations
    if len(found) < 2:
        return ""
    rows = [
        (
            f"{text(each['version'])} / {text(each['instance'])}",
            "live" if each["live"] else "expired",
            text(each["owner"]),
            text(each.get("deployment", "")),
            f"{each['lease']} s" if each["lease"] else "stays",
        )
        for each in found
    ]
    heads = ("Version / instance", "State", "Owner", "Place", "Lease")
    return f"<h4>Registrations</h4>{table(heads, rows)}"


def _contents(shown: Shown) -> str:
    left = LISTED
    items = []
    for obj in shown.objects:
        path = path_of(obj["name"])
        members = [*obj["methods"].values(), *obj["channels"].values()]
        inner = "".join(_entry(each["name"], path) for each in members[:left])
        left = max(0, left - len(members))
        items.append(f"<li>{_link(path, path)}{f'<ul>{inner}</ul>' if inner else ''}</li>")
    if not items:
        return ""
    return (
        f'<nav class="toc" aria-label="Contents"><h2>Contents</h2><ul>{"".join(items)}</ul></nav>'
    )


def _entry(name: str, within: str) -> str:
    path = path_of(name)
    return f"<li>{_link(path, path.removeprefix(f'{within}/'))}</li>"


def _link(anchor: str, says: str) -> str:
    return f'<a href="#{escape(anchor)}">{text(says)}</a>'


# Objects and members


def _object(shown: Shown, obj: Description) -> str:
    path = path_of(obj["name"])
    parts = [_method(shown, path, each) for each in obj["methods"].values()]
    parts += [_channel(shown, path, each) for each in obj["channels"].values()]
    meaning = definitions(
        (
            ("Is a", terms(obj.get("types", ()))),
            ("Place", term(obj["place"]) if "place" in obj else ""),
            ("Owner", text(obj["owner"] or "nobody")),
        ),
        "meaning",
    )
    return f"""<section class="object" id="{escape(path)}"><h2>{text(path)}</h2>
{prose(obj["description"])}{meaning}{"".join(parts)}</section>"""


def _method(shown: Shown, within: str, method: Description) -> str:
    facts = [("", "safe")] if method["safe"] else []
    if method["idempotent"] and not method["safe"]:
        facts.append(("", "idempotent"))
    if method["timeout"]:
        facts.append(("", f"answers within {method['timeout']} ms"))
    sides = [
        _schema(word, method[side]) for side, word in (("input", "Input"), ("output", "Output"))
    ]
    inner = [
        _hint(method, {"call": "call it"}),
        *sides,
        _meaning(method),
        _calls("How to call it", calls_of(method, shown.bases)),
        _bound(method["bindings"]),
    ]
    return _member("method", within, method, facts, "".join(inner))


def _channel(shown: Shown, within: str, channel: Description) -> str:
    limits = {"count": "{} events", "bytes": "{} bytes", "age": "{} s"}
    kept = [
        words.format(f"{channel['retain'][key]:,}")
        for key, words in limits.items()
        if channel["retain"][key]
    ]
    facts = [
        ("", "durable" if channel["durable"] else "in memory"),
        ("", f"keeps {' or '.join(kept)}"),
        ("", f"when slow: {text(channel['overflow'])}"),
    ]
    inner = [
        _hint(channel, {"subscribe": "subscribe to it", "publish": "publish to it"}),
        _schema("Event", channel["schema"]),
        _meaning(channel),
        _calls("How to use it", events_of(channel, shown.bases)),
    ]
    return _member("channel", within, channel, facts, "".join(inner))


def _member(
    kind: str, within: str, member: Description, facts: list[tuple[str, str]], inner: str
) -> str:
    path = path_of(member["name"])
    says = text(path.removeprefix(f"{within}/"))
    return f"""<article class="member {kind}" id="{escape(path)}"><header><h3>{says}</h3>
<span class="kind">{kind}</span><span class="where">{code(f"/{path}")}</span></header>
{prose(member["description"])}{chips(facts)}{inner}</article>"""


def _hint(member: Description, words: dict[str, str]) -> str:
    if "may" not in member:
        return ""
    may = [says for action, says in words.items() if action in member["may"]]
    if may:
        return f'<p class="may yes">You may {" and ".join(may)}.</p>'
    return f'<p class="may no">No policy lets you {" or ".join(words.values())}.</p>'


def _meaning(member: Description) -> str:
    profile = member.get("profile") or {}
    level = profile.get("level", {})
    promised = [
        f"{level['latency']:g} ms (p95)" if level.get("latency") else "",
        f"{100 * level['availability']:g} % of the time" if level.get("availability") else "",
        f"{level['rate']:g} per second" if level.get("rate") else "",
    ]
    pairs = (
        ("Is a", terms(member.get("types", ()))),
        ("Category", term(profile["category"]) if profile.get("category") else ""),
        ("Inputs", _parameters(profile.get("inputs", {}))),
        ("Outputs", _parameters(profile.get("outputs", {}))),
        ("Before", terms(profile.get("preconditions", ()))),
        ("After", terms(profile.get("effects", ()))),
        ("Promises", text(", ".join(filter(None, promised)))),
    )
    made = definitions(pairs, "meaning")
    return f"<h4>Meaning</h4>{made}" if made else ""


def _parameters(classes: dict[str, str]) -> str:
    return ", ".join(f"{code(name)} {term(iri)}" for name, iri in classes.items())


def _schema(word: str, schema: dict[str, Any] | None) -> str:
    if schema is None:
        return ""
    rows = rows_of(schema)
    source = msgspec.json.format(msgspec.json.encode(schema)).decode()
    whole = f"<details><summary>JSON Schema</summary><pre>{text(source)}</pre></details>"
    heads = ("Value", "Type", "What it is")
    return f"<h4>{word}</h4>{table(heads, map(_row, rows), 'values')}{whole}"


def _row(row: Row) -> tuple[str, str, str]:
    name = code(row.path) if row.path else '<span class="soft">the whole</span>'
    need = ' <span class="need">required</span>' if row.required else ""
    limits = f'<span class="soft">{text("; ".join(row.limits))}</span>' if row.limits else ""
    says = f'<span dir="auto">{text(row.says)}</span>' if row.says else ""
    return f"{name}{need}", text(row.kind), f"{says}{'<br>' if says and limits else ''}{limits}"


def _calls(word: str, examples: list[Example]) -> str:
    several = len({each.does for each in examples}) > 1
    pairs = (
        (
            f"{each.protocol} {each.does}" if several else each.protocol,
            f"<pre>{text(each.line)}</pre>",
        )
        for each in examples
    )
    return f"<h4>{word}</h4>{definitions(pairs, 'calls')}" if examples else ""


def _bound(bindings: list[dict[str, Any]]) -> str:
    items = "".join(
        f'<li><span class="{"good" if each["healthy"] else "bad"}">'
        f"{'healthy' if each['healthy'] else 'not healthy'}</span> {text(each['target'])}</li>"
        for each in bindings
    )
    found = (
        f'<ul class="bound">{items}</ul>' if items else '<p class="soft">Bound to nothing now.</p>'
    )
    return f"<h4>Where calls go now</h4>{found}"
