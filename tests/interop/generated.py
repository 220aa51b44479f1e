"""Run against the package that openapi-python-client has made, which is called `made`."""

import importlib
import json
import pkgutil
import sys

import made
from made import AuthenticatedClient, Client
from made.api.sign_in import authmodes_login, authmodes_logout, authmodes_user
from made.api.tokens import authmodes_token_obtain_pair, authmodes_token_refresh
from made.models import (
    AuthModesGrant,
    AuthModesGrantGrantType,
    AuthModesTokenObtainPair,
    AuthModesTokenRefresh,
)

for found in pkgutil.walk_packages(made.__path__, "made."):
    importlib.import_module(found.name)

site = sys.argv[1]
client = Client(base_url=site)
name = {"username": "alice", "password": "alice-demo"}


def login():
    # A user name or an e-mail address: the generator has no class for such a body.
    return authmodes_login.sync(client=client, body={**name, "mode": "jwt"})


def obtain():
    return authmodes_token_obtain_pair.sync(client=client, body=AuthModesTokenObtainPair(**name))


def user(access):
    signed_in = AuthenticatedClient(base_url=site, token=access)
    answer = authmodes_user.sync_detailed(client=signed_in)
    return answer.parsed.user.username if answer.status_code == 200 else int(answer.status_code)


def refresh(token):
    body = AuthModesTokenRefresh(refresh=token)
    answer = authmodes_token_refresh.sync_detailed(client=client, body=body)
    return answer.parsed if answer.status_code == 200 else int(answer.status_code)


def grant(token):
    body = AuthModesGrant(grant_type=AuthModesGrantGrantType.REFRESH_TOKEN, refresh_token=token)
    answer = authmodes_token_obtain_pair.sync_detailed(client=client, body=body)
    return answer.parsed if answer.status_code == 200 else int(answer.status_code)


seen = []
for sign_in in (login, obtain):
    first = sign_in()
    second = refresh(first.refresh)
    third = grant(second.refresh)
    seen.append(user(third.access_token))
    # The test revokes this login, and answers.
    print(first.sid, flush=True)
    sys.stdin.readline()
    seen += [user(second.access), refresh(third.refresh_token), grant(third.refresh_token)]
    last = sign_in()
    authmodes_logout.sync_detailed(client=AuthenticatedClient(base_url=site, token=last.access))
    seen.append(user(last.access))
print(json.dumps(seen))
