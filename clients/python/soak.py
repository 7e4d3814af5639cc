"""soak.py REQUESTS_FILE sends each request of a file, with requests and with httpx in turn, and ends with 1 at the first refusal.

Each line is a JSON object: {"partner": "noah", "method": "POST", "target": "/v1/x?a=1", "body_base64": "e30="}.
The environment is the example's.
"""
import base64
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "gen"))  # the stubs

import httpx
import requests

import signerd_auth

LIBRARIES = ("requests", "httpx")


def auths(channel):
    """An auth object for each partner and library."""
    made = {}
    for partner in ("noah", "noba", "noon"):
        for library in LIBRARIES:
            kind = getattr(signerd_auth, f"{partner.title()}{library.title()}Auth")
            made[partner, library] = kind(channel, os.environ[partner.upper() + "_KEY"], os.environ[partner.upper() + "_URL"])
    return made


def main(file):
    with signerd_auth.connect(
            os.environ["SIGNERD_ADDRESS"], ca=os.environ.get("SIGNERD_TLS_CA"), certificate=os.environ.get("SIGNERD_TLS_CERT"),
            key=os.environ.get("SIGNERD_TLS_KEY")) as channel, \
            requests.Session() as session, httpx.Client(timeout=30) as client, open(file, encoding="utf-8") as lines:
        by = auths(channel)
        count = 0
        for count, line in enumerate(lines, start=1):
            wanted = json.loads(line)
            partner, method, body = wanted["partner"], wanted["method"], base64.b64decode(wanted.get("body_base64") or "")
            url = os.environ[partner.upper() + "_URL"] + wanted["target"]
            library = LIBRARIES[count % 2]
            auth = by[partner, library]
            try:
                if library == "requests":
                    answer = session.request(method, url, data=body, auth=auth, timeout=30)
                else:
                    answer = client.request(method, url, content=body, auth=auth)
            except Exception as error:  # whatever it is, the request was not accepted
                print(f"line {count}: {partner} {method} {wanted['target']} with {library}: {error!r}")
                return 1
            if answer.status_code != 200:
                print(f"line {count}: {partner} {method} {wanted['target']} with {library}: {answer.status_code} {answer.text.strip()}")
                return 1
    print(f"{count} requests accepted")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: soak.py REQUESTS_FILE")
    sys.exit(main(sys.argv[1]))
