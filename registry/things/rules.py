"""What a description must be beyond its shape (TD 1.1, section 5; design 8). Pure.

The rules look at a document whose shape may be wrong too, so that all its errors are told at once.
"""

import re
from typing import Any, Final

from registry.names import InvalidName, parse_name
from registry.terms import HILUM, is_iri
from registry.things.affordance_rules import Affordances
from registry.things.contexts import KNOWN, TD_1_0, TD_1_1, Vocabulary, context_entries, remotes
from registry.things.findings import Findings, Path, dict_of, items_of, words_of
from registry.things.problems import Problem
from registry.things.schema import SCHEMES

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
# What nobody says of a scheme, but of its secret. Public are `name`, `identity`, `alg`, `token`
# (the address of an OAuth server), …
_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|credential|apikey|privatekey|accesstoken|refreshtoken"
    r"|bearertoken|sharedkey|^token$|^key$|^psk$|^pin$"
)
_MODEL: Final = "https://www.w3.org/2022/wot/tm#ThingModel"
_OAUTH: Final = ("authorization", "token", "refresh", "proxy")
_ELSEWHERE: Final = "a site keeps it with: hilum endpoint-secret put"


def rule_problems(
    document: dict[str, Any],
    problems: list[Problem],
    warnings: list[str],
    *,
    unknown_contexts: bool,
) -> None:
    """Add what is wrong with a description, and what is kept but not understood."""
    rules = _Rules(document, Findings(problems, warnings))
    rules.contexts(unknown_contexts)
    rules.identity()
    rules.security()
    rules.links()
    rules.affordances()


class _Rules:
    def __init__(self, document: dict[str, Any], findings: Findings) -> None:
        self._document = document
        self._found = findings
        self._vocabulary = Vocabulary(document.get("@context"))
        self._definitions = dict_of(document.get("securityDefinitions"))

    def contexts(self, unknown_contexts: bool) -> None:
        """Check that the description is one of TD 1.1 (or 1.0), and of known contexts."""
        entries = context_entries(self._document)
        if "@context" in self._document and not any(e in (TD_1_0, TD_1_1) for e in entries[:2]):
            self._found.add(("@context",), f"it must begin with {TD_1_1}")
        elif TD_1_1 not in entries:
            self._found.warn("it is a description of TD 1.0 and is read as one of TD 1.1")
        for path, address in remotes(self._document):
            if address in KNOWN:
                continue
            if unknown_contexts:
                self._found.warn(f"the context {address[:200]} is not known: its terms are kept")
            else:
                hint = "no context is fetched: write its prefixes into @context, as an object"
                self._found.add(path, f"the context {address[:200]} is not known here", hint)

    def identity(self) -> None:
        """Check what the description is of: a thing, and no model and no view."""
        document = self._document
        id_ = document.get("id")
        if isinstance(id_, str) and not is_iri(id_):
            hint = "write a URI, for example urn:uuid:… or urn:dev:…"
            self._found.add(("id",), f"{id_[:80]!r} is no absolute IRI", hint)
        types = words_of(document.get("@type"))
        if _MODEL in (self._vocabulary.expand(each) for each in types):
            hint = "register the descriptions of its instances; a link of rel type names the model"
            self._found.add(("@type",), "it is a Thing Model, which describes no thing", hint)
        for key in document:
            if ":" in key and self._vocabulary.expand(key) == HILUM + "view":
                hint = "change the submitted description: GET it with ?view=submitted"
                message = (
                    "it is the view of a thing that this site shows, with the site's own forms"
                )
                self._found.add((key,), message, hint)
        self._name()
        self._languages((), document)

    def _name(self) -> None:
        said = self._vocabulary.meanings(self._document, HILUM)
        name = said.get("name")
        if name is None or "view" in said:
            return
        key = next(k for k in self._document if self._vocabulary.expand(k) == HILUM + "name")
        try:
            # Whose it is, is checked when the site is known.
            text = name if isinstance(name, str) else ""
            parse_name(text.removeprefix("urn:hilum:"), authority="a")
        except InvalidName as error:
            self._found.add((key,), str(error))

    def _languages(self, path: Path, node: dict[str, Any]) -> None:
        for key in ("titles", "descriptions"):
            for language in dict_of(node.get(key)):
                if not _LANGUAGE.fullmatch(language):
                    hint = "write it as BCP 47 says, for example en or zh-Hant"
                    self._found.add((*path, key, language), "it is no language tag", hint)

    def security(self) -> None:
        """Check that schemes are complete and hold no secret, and that names name one."""
        self._names((), self._document)
        for name, scheme in self._definitions.items():
            if isinstance(scheme, dict):
                self._scheme(("securityDefinitions", name), scheme)
        base = self._document.get("base")
        if isinstance(base, str):
            self._found.address(("base",), base)

    def _names(self, path: Path, node: dict[str, Any]) -> None:
        for name in words_of(node.get("security")):
            if name not in self._definitions:
                known = ", ".join(list(self._definitions)[:5]) or "there is none"
                hint = f"define it in securityDefinitions ({known})"
                self._found.add((*path, "security"), f"{name[:80]!r} is not defined", hint)

    def _scheme(self, path: Path, scheme: dict[str, Any]) -> None:
        kind = scheme.get("scheme")
        if isinstance(kind, str) and kind not in SCHEMES and ":" not in kind:
            hint = f"use {', '.join(SCHEMES)}, or a term with the prefix of its vocabulary"
            self._found.add((*path, "scheme"), f"{kind[:80]!r} is no security scheme", hint)
        for key in scheme:
            word = re.sub(r"[^a-z]", "", key.rpartition(":")[2].lower())
            if _SECRET.search(word) and not (key == "token" and kind == "oauth2"):
                message = "a description is public and must hold no secret"
                self._found.add((*path, key), message, f"remove it; {_ELSEWHERE}")
        for key in _OAUTH:
            if isinstance(scheme.get(key), str):
                self._found.address((*path, key), scheme[key])
        self._parts(path, kind, scheme)

    def _parts(self, path: Path, kind: object, scheme: dict[str, Any]) -> None:
        """Check what OAuth and combinations need."""
        if kind == "oauth2" and "flow" not in scheme:
            self._found.add(path, "the member 'flow' is missing", "write code, client or device")
        if kind == "combo" and ("oneOf" in scheme) == ("allOf" in scheme):
            self._found.add(path, "a combo has either oneOf or allOf")
        for key in ("oneOf", "allOf") if kind == "combo" else ():
            for index, name in enumerate(words_of(scheme.get(key))):
                if name not in self._definitions:
                    self._found.add((*path, key, index), f"{name[:80]!r} is not defined")

    def links(self) -> None:
        """Check that no link holds a credential."""
        for index, link in items_of(self._document.get("links")):
            href = link.get("href")
            if isinstance(href, str):
                self._found.address(("links", index, "href"), href)

    def affordances(self) -> None:
        """Check properties, actions and events with their forms, and the forms of the thing."""
        rules = Affordances(self._document, self._found, self._names, self._languages)
        rules.check()
