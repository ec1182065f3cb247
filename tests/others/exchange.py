"""An OAuth client and an API in Python: authlib asks, joserfc checks. Nothing here knows Jeton."""

import sys

import requests
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.jwk import KeySet

base, tls, subject = sys.argv[1:]


def client(who):
    session = OAuth2Session(client_id="ci", token_endpoint_auth_method="none")
    session.trust_env = False
    session.verify = f"{tls}/ca.pem"
    session.cert = (f"{tls}/{who}.pem", f"{tls}/{who}.key")
    return session


def public(path):
    return requests.get(f"{base}{path}", verify=f"{tls}/ca.pem", timeout=10).json()


about = public("/.well-known/oauth-authorization-server")
job = client("agent")
token = job.fetch_token(
    about["token_endpoint"],
    grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token=subject,
    subject_token_type="urn:ietf:params:oauth:token-type:jwt",
    scope="git:acme/api contents:read",
)
assert token["token_type"] == "Bearer" and token["expires_in"] > 0, token

resource = public("/.well-known/oauth-protected-resource/git")
keys = requests.get(resource["jwks_uri"], verify=f"{tls}/ca.pem", timeout=10).json()
checked = jwt.decode(token["access_token"], KeySet.import_key_set(keys), algorithms=["EdDSA"])
jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": about["issuer"]},
    aud={"essential": True, "value": resource["resource"]},
    exp={"essential": True},
).validate(checked.claims)
assert checked.header["typ"] == "at+jwt", checked.header
assert checked.claims["sub"] == "ci/acme/api" and "x5t#S256" in checked.claims["cnf"]

host = client("git-host")
live = host.introspect_token(about["introspection_endpoint"], token=token["access_token"]).json()
assert live["active"] and live["jti"] == checked.claims["jti"], live
gone = job.revoke_token(about["revocation_endpoint"], token=token["access_token"])
assert gone.status_code == 200, gone.text
live = host.introspect_token(about["introspection_endpoint"], token=token["access_token"]).json()
assert live == {"active": False}, live
print("good")
