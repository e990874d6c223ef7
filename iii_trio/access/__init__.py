"""Who may do what: access rules, sessions, and the decisions they lead to.

Pure: rules and facts in, decisions out. The engine asks; nothing here waits or sends.
Source: the iii worker protocol, section 8.
"""

from iii_trio.access._hooks import (
    apply_function_answer,
    apply_trigger_answer,
    apply_type_answer,
    function_question,
    middleware_payload,
    trigger_question,
    type_question,
)
from iii_trio.access._request import ConnectRequest
from iii_trio.access._rules import (
    INFRASTRUCTURE,
    Access,
    AccessRules,
    ExposeRule,
    parse_rules,
    unknown_keys,
)
from iii_trio.access._session import (
    BadAuthResultError,
    Session,
    functions_named_in,
    session_from,
    session_without_auth,
)

__all__ = [
    "INFRASTRUCTURE",
    "Access",
    "AccessRules",
    "BadAuthResultError",
    "ConnectRequest",
    "ExposeRule",
    "Session",
    "apply_function_answer",
    "apply_trigger_answer",
    "apply_type_answer",
    "function_question",
    "functions_named_in",
    "middleware_payload",
    "parse_rules",
    "session_from",
    "session_without_auth",
    "trigger_question",
    "type_question",
    "unknown_keys",
]
