"""What a browser sees at ``/``: plain pages without scripts, that say nothing of the site itself.

Everything that comes from elsewhere is escaped, and the style is allowed by its hash alone.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

from gateway.message import Refusal

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2.5rem auto; padding: 0 1rem;
  color: #1d2733; background: #fff; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p.what { margin-top: 0; color: #55616d; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; font-size: .85rem; color: #55616d; }
td, th { padding: .4rem 1rem .4rem 0; border-bottom: 1px solid #e3e8ee; vertical-align: top; }
.wide { overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: 1rem 0; }
dt { color: #55616d; } dd { margin: 0; min-width: 0; }
pre { background: #f3f5f8; padding: 1rem; overflow-x: auto; border-radius: 6px; font-size: .9rem; }
a { color: #0b5cad; } p code { white-space: nowrap; }
a.button, button { display: inline-block; font: inherit; padding: .4rem 1.1rem; border-radius: 6px;
  border: 1px solid #0b5cad; background: #0b5cad; color: #fff; text-decoration: none;
  cursor: pointer; white-space: nowrap; }
button { background: transparent; color: #0b5cad; }
a:focus-visible, button:focus-visible { outline: 3px solid #f2a900; outline-offset: 2px; }
.head { display: flex; gap: 1rem; justify-content: space-between; align-items: start; }
.error { border-left: 4px solid #c62828; padding: .6rem 1rem; background: #fdf0f0; }
@media (prefers-color-scheme: dark) {
  body { color: #dfe6ee; background: #14181d; } pre { background: #1f252c; }
  td, th { border-color: #2c343d; } a { color: #7ab8ff; } p.what, th, dt { color: #95a3b3; }
  a.button { background: #7ab8ff; border-color: #7ab8ff; color: #10151a; }
  button { color: #7ab8ff; border-color: #7ab8ff; } .error { background: #331d1f; }
}
@media (max-width: 34rem) {
  body { margin-top: 1.2rem; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  thead { position: absolute; left: -999rem; } tr, td { display: block; }
  tr { border-bottom: 1px solid #8886; padding: .4rem 0; } td { border: 0; padding: .1rem 0; }
  td[data-head]::before { content: attr(data-head) ": "; opacity: .75; font-size: .85rem; }
}
"""
LINKS = (
    ("/openapi.json", "what the API can do (OpenAPI 3.1)"),
    ("/ontology", "what descriptions can say: the ontology of services"),
    ("/healthz", "is the process alive?"),
    ("/readyz", "does the site serve, and can it write?"),
    ("/metrics", "numbers for Prometheus"),
)
_digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
STYLE_SOURCE = f"'sha256-{_digest}'"
"""The source of the page's style, for its Content-Security-Policy."""


def document(title: str, body: str) -> str:
    """Return a page; ``body`` is HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><main>{body}</main></body></html>
"""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; ``heads`` are text, the cells of ``rows`` HTML."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    head = f"<thead><tr>{top}</tr></thead>" if heads else ""
    lines = ("".join(map(_cell, heads or [""] * len(row), row)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def _cell(head: str, content: str) -> str:
    """Return a cell; where there is no room for columns it says what it is itself."""
    label = f' data-head="{escape(head)}"' if head and content else ""
    return f"<td{label}>{content}</td>"


def link(path: str, text: str) -> str:
    """Return a link; ``path`` is one of ours."""
    return f'<a href="{escape(path)}">{escape(text)}</a>'


def links() -> str:
    """Return where the rest is."""
    return table((), [(link(path, path), escape(says)) for path, says in LINKS])


def page(version: str, base: str, *, login: bool) -> str:
    """Return the page for everybody; ``base`` is the URL that it was asked for at."""
    button = '<a class="button" href="/login">Log in</a>' if login else ""
    return document(
        "Hilum control API",
        f"""<div class="head"><div><h1>Hilum</h1>
<p class="what">The control API of a site, version {escape(version)}</p></div>{button}</div>
{links()}
<p>Everything else needs {"a login or " if login else ""}a bearer token. The first one is in the
file <code>admin.token</code> in the folder of the site's state:</p>
<pre>curl -H "Authorization: Bearer $(cat admin.token)" {escape(base)}api/v1/names</pre>
<p>The command line does the same: <code>hilum --help</code>.</p>""",
    )


def refusal_page(refusal: Refusal) -> str:
    """Return the page for what is refused to who looks with a browser."""
    title = refusal.status.wire.title
    return document(
        f"{title} - Hilum",
        f"""<h1>{escape(title)}</h1><p class="error" role="alert">{escape(refusal.detail)}</p>
<p><a href="/">Back to the start</a></p>""",
    )


def failure(detail: str) -> str:
    """Return the page for a login that failed."""
    sentence = f"{detail[:1].upper()}{detail[1:]}."
    return document(
        "Not logged in - Hilum",
        f"""<h1>Not logged in</h1><p class="error" role="alert">{escape(sentence)}</p>
<p><a class="button" href="/login">Try again</a></p><p><a href="/">Back to the start</a></p>""",
    )
