"""The page that a browser sees: what is here. It says nothing of the site itself."""

import base64
import hashlib
from html import escape

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem;
  color: #1d2733; background: #fff; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
p.what { margin-top: 0; color: #5b6875; }
table { border-collapse: collapse; width: 100%; }
td { padding: .4rem 1rem .4rem 0; border-bottom: 1px solid #e3e8ee; vertical-align: top; }
pre { background: #f3f5f8; padding: 1rem; overflow-x: auto; border-radius: 6px; }
a { color: #0b5cad; }
@media (prefers-color-scheme: dark) {
  body { color: #dfe6ee; background: #14181d; } pre { background: #1f252c; }
  td { border-color: #2c343d; } a { color: #7ab8ff; } p.what { color: #95a3b3; }
}
"""
_LINKS = (
    ("/openapi.json", "what the API can do (OpenAPI 3.1)"),
    ("/healthz", "is the process alive?"),
    ("/readyz", "does the site serve, and can it write?"),
    ("/metrics", "numbers for Prometheus"),
)
_digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
STYLE_SOURCE = f"'sha256-{_digest}'"
"""The source of the page's style, for its Content-Security-Policy."""


def page(version: str, base: str) -> str:
    """Return the page; ``base`` is the URL that it was asked for at."""
    rows = "".join(
        f'<tr><td><a href="{path}">{path}</a></td><td>{says}</td></tr>' for path, says in _LINKS
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Hilum control API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><h1>Hilum</h1><p class="what">The control API of a site, version {escape(version)}</p>
<table>{rows}</table>
<p>Everything else needs a bearer token. The first one is in the file <code>admin.token</code> in
the folder of the site's state:</p>
<pre>curl -H "Authorization: Bearer $(cat admin.token)" {escape(base)}api/v1/names</pre>
<p>The command line does the same: <code>hilum --help</code>.</p></body></html>
"""
