"""The routes of the control API: which of the site's own methods each one calls.

One table, so that what is routed and what the OpenAPI document says cannot differ.
"""

from typing import Any, NamedTuple

from msgspec import Struct

from adapters.control import answers
from gateway.objects.channel import History, Letter, Letters
from gateway.objects.describe import Introspect
from gateway.objects.listing import Listing, Registrations
from gateway.objects.policy import Which
from gateway.objects.policy_questions import Explain
from gateway.objects.registry import Id
from gateway.objects.token import Issue, Revoke
from policy.language import Manifest
from registry.manifest import Manifest as RegistrationManifest

WHOLE_NAME = "{name:path}"
"""Stands in a path for a name of the site, slashes included."""

Parameters = type[Struct]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Operation(NamedTuple):
    """``verb path`` calls ``$site/target``.

    With ``parameters`` the payload is made from path and query, else it is the request's body,
    of the type ``body``. With ``?dryRun=true`` the call goes to ``dry_run`` instead.
    """

    id: str
    verb: str
    path: str
    target: str
    says: str
    answer: Any
    parameters: Parameters | None = None
    body: Any = None
    dry_run: str = ""
    dry_run_answer: Any = None

    @property
    def tag(self) -> str:
        """The group that the operation belongs to: the object of ours that it calls."""
        return self.target.partition("/")[0]


def _read(id_: str, path: str, target: str, says: str, answer: Any, asked: Parameters) -> Operation:
    return Operation(id_, "GET", path, target, says, answer, asked)


def _end(id_: str, path: str, target: str, says: str, answer: Any, asked: Parameters) -> Operation:
    return Operation(id_, "DELETE", path, target, says, answer, asked)


def _act(id_: str, path: str, target: str, says: str, answer: Any, asked: Parameters) -> Operation:
    return Operation(id_, "POST", path, target, says, answer, asked)


def _write(id_: str, path: str, target: str, says: str, answer: Any, body: Any) -> Operation:
    return Operation(id_, "POST", path, target, says, answer, body=body)


V1 = "/api/v1"
POLICY = V1 + "/policies/{kind}/{name}"
REGISTRATION = V1 + "/registrations/{microservice}/{version}/{instance}"

OPERATIONS = (
    _read(
        "listPolicies", V1 + "/policies", "policy/get", "List policies.", answers.Policies, Which
    ),
    _read(
        "getPolicy",
        POLICY,
        "policy/get",
        "Get one policy, as it can be changed and applied again.",
        answers.Policies,
        Which,
    ),
    _write(
        "applyPolicies",
        V1 + "/policies",
        "policy/apply",
        "Create or replace policies, all or none; dryRun=true only says what would change.",
        answers.ApplyAnswer,
        Manifest | list[Manifest],
    )._replace(dry_run="policy/preview", dry_run_answer=answers.PreviewAnswer),
    _end("deletePolicy", POLICY, "policy/delete", "Delete a policy.", answers.PolicyGone, Which),
    _read(
        "getPolicySchema",
        V1 + "/policy-schema",
        "policy/schema",
        "Get the JSON Schema of policy manifests.",
        answers.Described,
        Nothing,
    ),
    _write(
        "explain",
        V1 + "/explain",
        "policy/explain",
        "Ask how a question is decided, by which policies, and what the name resolves to.",
        answers.Explanation,
        Explain,
    ),
    _read(
        "listRegistrations",
        V1 + "/registrations",
        "registry/registrations",
        "List registrations by pages.",
        answers.Registrations,
        Registrations,
    ),
    _write(
        "register",
        V1 + "/registrations",
        "registry/register",
        "Register a microservice, or replace its registration of the same id.",
        answers.RegistrationAnswer,
        RegistrationManifest,
    ),
    _act(
        "renewRegistration",
        REGISTRATION + "/renew",
        "registry/renew",
        "Begin a registration's lease anew.",
        answers.Renewal,
        Id,
    ),
    _end(
        "deregister",
        REGISTRATION,
        "registry/deregister",
        "End a registration.",
        answers.RegistrationGone,
        Id,
    ),
    _read(
        "listNames", V1 + "/names", "registry/list", "List names by pages.", answers.Names, Listing
    ),
    _read(
        "describe",
        V1 + "/describe/" + WHOLE_NAME,
        "registry/introspect",
        "Describe an object or a microservice.",
        answers.Described,
        Introspect,
    ),
    _read(
        "listTokens",
        V1 + "/tokens",
        "token/list",
        "List the valid tokens.",
        answers.Tokens,
        Nothing,
    ),
    _write(
        "issueToken",
        V1 + "/tokens",
        "token/issue",
        "Issue a token; its secret is in this answer and nowhere else.",
        answers.IssuedToken,
        Issue,
    ),
    _end(
        "revokeToken",
        V1 + "/tokens/{id}",
        "token/revoke",
        "Revoke a token: what is open with it ends at once.",
        answers.TokensGone,
        Revoke,
    ),
    _end(
        "revokeTokens",
        V1 + "/tokens",
        "token/revoke",
        "Revoke all tokens of a principal.",
        answers.TokensGone,
        Revoke,
    ),
    _read(
        "readHistory",
        V1 + "/history/" + WHOLE_NAME,
        "channel/history",
        "Read a stretch of what a channel keeps.",
        answers.Events,
        History,
    ),
    _read(
        "listDeadLetters",
        V1 + "/deadletters",
        "channel/deadletters",
        "List events whose delivery was given up.",
        answers.DeadLetters,
        Letters,
    ),
    _act(
        "redriveDeadLetter",
        V1 + "/deadletters/{id}/redrive",
        "channel/redrive",
        "Deliver a dead letter once more; it stays when that fails.",
        answers.LetterDelivered,
        Letter,
    ),
    _end(
        "deleteDeadLetter",
        V1 + "/deadletters/{id}",
        "channel/discard",
        "Delete a dead letter.",
        answers.LetterGone,
        Letter,
    ),
)
