"""The look of a description in a browser: one style, allowed by its hash alone."""

import base64
import hashlib
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b2530; --soft: #5a6673; --paper: #fff; --sheet: #f5f7fa;
  --line: #dde3ea; --accent: #0b5cad; --method: #0b5cad; --channel: #7a3e9d; --good: #1a7a43;
  --bad: #b3261e; --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media (prefers-color-scheme: dark) { :root { --ink: #dde5ee; --soft: #97a4b2; --paper: #12161b;
  --sheet: #1a2027; --line: #2d3641; --accent: #7ab8ff; --method: #7ab8ff; --channel: #d3a4f0;
  --good: #6fcf97; --bad: #ff8a80; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; margin: 0; color: var(--ink);
  background: var(--paper); overflow-wrap: anywhere; }
.page { max-width: 76rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; display: grid;
  grid-template-columns: 14rem minmax(0, 1fr); gap: 0 3rem; }
.page > header, .page > footer { grid-column: 1 / -1; }
h1, h2, h3, h4, p { margin: 0; }
h1 { font-size: 2.1rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; line-height: 1.3; }
h3 { font-size: 1.1rem; line-height: 1.3; }
h4 { font-size: .8rem; font-weight: 600; color: var(--soft); margin: 1.1rem 0 .35rem; }
a { color: var(--accent); text-underline-offset: .15em; }
a:focus-visible, summary:focus-visible { outline: 3px solid #f2a900; outline-offset: 2px; }
code, pre { font-family: var(--mono); font-size: .875em; }
.prose { white-space: pre-line; max-width: 44rem; }
.soft, .crumb { color: var(--soft); }
.crumb { font-size: .9rem; }
.lead { font-size: 1.1rem; margin-top: .4rem; }
.chips { list-style: none; display: flex; flex-wrap: wrap; gap: .35rem .5rem; margin: .7rem 0 0;
  padding: 0; font-size: .85rem; }
.chips li { border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .65rem;
  background: var(--sheet); }
.chips .good { color: var(--good); border-color: currentColor; }
.chips .bad { color: var(--bad); border-color: currentColor; }
.formats { margin: 1.1rem 0 2rem; padding: .7rem 0; border: solid var(--line); border-width: 1px 0;
  font-size: .9rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
.toc { font-size: .9rem; position: sticky; top: 1.5rem; align-self: start; max-height: 94vh;
  overflow-y: auto; }
.toc h2 { font-size: .8rem; color: var(--soft); margin-bottom: .4rem; }
.toc ul { list-style: none; margin: 0; padding: 0; }
.toc li { margin: .15rem 0; }
.toc ul ul { margin: 0 0 .7rem; padding-left: .8rem; border-left: 2px solid var(--line); }
.toc a { text-decoration: none; } .toc a:hover { text-decoration: underline; }
.object { margin-bottom: 3rem; }
.object > .prose { margin-top: .35rem; } .object > .meaning { margin-top: .8rem; }
.member > .meaning { margin-top: .6rem; } figure { margin: 0; }
.member { border: 1px solid var(--line); border-left: 4px solid var(--method); border-radius: 8px;
  padding: 1rem 1.25rem 1.25rem; margin-top: 1.1rem; }
.member.channel { border-left-color: var(--channel); }
.member > header { display: flex; flex-wrap: wrap; gap: .2rem .7rem; align-items: baseline; }
.kind { font-size: .75rem; font-weight: 600; color: var(--method); }
.channel .kind { color: var(--channel); }
.where { margin-left: auto; color: var(--soft); }
.member > .prose { margin-top: .4rem; }
.may { font-size: .9rem; margin-top: .6rem; } .may.no { color: var(--bad); }
.may.yes::before { content: "\\2713\\00a0"; color: var(--good); }
.may.no::before { content: "\\2715\\00a0"; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .8rem; }
td, th { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
.values { table-layout: fixed; min-width: 30rem; }
.values th:nth-child(1) { width: 30%; } .values th:nth-child(2) { width: 24%; }
.need { color: var(--bad); font-size: .85em; margin-left: .3em; }
.meaning { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1.2rem;
  margin: 0; font-size: .9rem; }
.meaning dt { color: var(--soft); } .meaning dd { margin: 0; }
.type { white-space: nowrap; } .type small { color: var(--soft); }
.calls { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr); gap: .35rem .8rem; margin: 0;
  align-items: start; }
.calls dt { font-size: .85rem; color: var(--soft); padding-top: .45rem; } .calls dd { margin: 0; }
pre { margin: 0; padding: .45rem .7rem; background: var(--sheet); border-radius: 6px;
  white-space: pre-wrap; }
details { margin-top: .7rem; font-size: .9rem; } summary { cursor: pointer; color: var(--soft); }
details pre { margin-top: .4rem; max-height: 26rem; overflow: auto; }
.bound { list-style: none; margin: 0; padding: 0; font-size: .9rem; }
.member > p.soft { font-size: .9rem; }
.bound .good { color: var(--good); } .bound .bad { color: var(--bad); }
footer { border-top: 1px solid var(--line); padding-top: 1rem; font-size: .85rem;
  color: var(--soft); }
@media (max-width: 60rem) {
  .page { grid-template-columns: minmax(0, 1fr); padding-top: 1.5rem; }
  .toc { position: static; max-height: none; margin-bottom: 1.5rem; }
  .toc ul ul { display: flex; flex-wrap: wrap; gap: .1rem .9rem; }
}
@media (max-width: 36rem) {
  .page { padding: 1.2rem 1rem 3rem; } h1 { font-size: 1.7rem; }
  .member { padding: .8rem .9rem 1rem; } .where { margin-left: 0; flex-basis: 100%; }
  .calls, .meaning { grid-template-columns: minmax(0, 1fr); } .calls dt { padding-top: .3rem; }
  .meaning dd { margin-bottom: .4rem; }
  thead { position: absolute; left: -999rem; } tr, td { display: block; }
  tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  td { border: 0; padding: .05rem 0; } .values { min-width: 0; } td:empty { display: none; }
  td[data-head]::before { content: attr(data-head) ": "; color: var(--soft); font-size: .8rem; }
}
@media print {
  :root { color-scheme: light; font-size: 10pt; --ink: #000; --soft: #444;
    --paper: #fff; --sheet: #f4f4f4; --line: #bbb;
    --accent: #000; --method: #000; --channel: #000; --good: #000; --bad: #000; }
  body { font-size: 1rem; } .page > header { margin-bottom: 1.5rem; }
  .page { display: block; padding: 0; max-width: none; }
  .toc, .formats, details { display: none; }
  .member > header, h2, h3, h4 { break-after: avoid; } tr, pre { break-inside: avoid; }
  .meaning .type[href]::after { content: " <" attr(href) ">"; font-size: .8em; color: #444; }
}
"""
_digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
STYLE_SOURCE: Final = f"'sha256-{_digest}'"
"""The source of the style, for a Content-Security-Policy."""
POLICY: Final = (
    f"default-src 'none'; style-src {STYLE_SOURCE}; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
"""The Content-Security-Policy of the page: no script, no request, no frame."""
