"""What the stand-in answers for STS and IAM: assuming roles, saying who calls, and simulating policies."""

from __future__ import annotations

from typing import Any

from .allow import Allow, permits
from .authorize import denied
from .call import Call, Refusal, Reply
from .callers import Callers, Role, user_arn
from .clock import stamp
from .query_xml import answer

_LONGEST_S = 43_200


class Identities:
    """Each method is one operation; `authorize` has let the caller in."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def serve(self, call: Call) -> Reply | None:
        """The answer, or None when moto is to give it."""
        own = {
            ("sts", "AssumeRole"): self._assume,
            ("sts", "GetCallerIdentity"): self._who,
            ("iam", "SimulatePrincipalPolicy"): self._simulate,
        }.get((call.service, call.action))
        return None if own is None else answer(call, own(call))

    def _assume(self, call: Call) -> dict[str, Any]:
        arn, name = str(call.params.get("RoleArn", "")), str(call.params.get("RoleSessionName", ""))
        seconds = str(call.params.get("DurationSeconds", "3600"))
        if not name:
            raise Refusal(400, "ValidationError", "RoleSessionName is missing")
        if not seconds.isdecimal() or not 900 <= int(seconds) <= _LONGEST_S:
            raise Refusal(400, "ValidationError", f"DurationSeconds must be from 900 to {_LONGEST_S}")
        caller = self._callers.of(call)
        role = next((one for one in self._callers.roles.values() if one.arn == arn), None)
        if role is None or not _trusts(role, caller.name, call.params.get("ExternalId")):
            raise denied(call, caller, "sts:AssumeRole", arn)
        session = self._callers.begin_session(role, name, int(seconds))
        return {
            "Credentials": {
                "AccessKeyId": session.key,
                "SecretAccessKey": session.secret,
                "SessionToken": session.token,
                "Expiration": stamp(session.expires),
            },
            "AssumedRoleUser": {"AssumedRoleId": f"AROA{role.name.upper()}:{name}", "Arn": session.arn},
            "PackedPolicySize": 0,
        }

    def _who(self, call: Call) -> dict[str, Any]:
        caller = self._callers.of(call)
        return {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account}

    def _simulate(self, call: Call) -> dict[str, Any]:
        source = str(call.params.get("PolicySourceArn", ""))
        allow = self._allow_of(source)
        results: list[dict[str, Any]] = [
            {
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": "allowed" if permits(allow, action, resource) else "implicitDeny",
                "MatchedStatements": [],
                "MissingContextValues": [],
            }
            for action in call.numbered("ActionNames.member")
            for resource in call.numbered("ResourceArns.member") or ["*"]
        ]
        return {"EvaluationResults": results, "IsTruncated": False}

    def _allow_of(self, arn: str) -> Allow:
        for role in self._callers.roles.values():
            if role.arn == arn:
                return role.allow
        for key in self._callers.keys.values():
            if user_arn(key.id) == arn:
                return key.allow
        if arn == user_arn("anonymous"):
            return None
        if ":role/" in arn or ":user/" in arn:
            raise Refusal(404, "NoSuchEntity", f"The entity {arn} cannot be found.")
        raise Refusal(400, "InvalidInput", f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")


def _trusts(role: Role, caller: str, external_id: object) -> bool:
    known = "*" in role.principals or caller in role.principals
    return known and (role.external_id is None or role.external_id == external_id)
