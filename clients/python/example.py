"""Calls the partners named in PARTNERS, signed through signerd, and prints what each answered. See README.md for the environment."""
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "gen"))  # the stubs

import requests

from signerd_auth import NoahRequestsAuth, NobaRequestsAuth, NoonRequestsAuth, connect


def body(value):
    # Compact, and not escaped: the form that JSON.stringify gives, which Noba wants.
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def noah(channel):
    url = os.environ["NOAH_URL"]
    return requests.post(
        url + "/v1/checkout/payin/fiat?Note=caf%C3%A9%20au+lait&PageSize=20",
        data=body({"CustomerID": "c-1", "FiatAmount": "10.50", "Name": "Zoë"}),
        headers={"Content-Type": "application/json"},
        auth=NoahRequestsAuth(channel, os.environ["NOAH_KEY"], url), timeout=30)


def noba(channel):
    url = os.environ["NOBA_URL"]
    return requests.post(
        url + "/v1/transactions?dry=1",
        data=body({"amount": "100", "note": "Zoë"}),
        headers={"Content-Type": "application/json"},
        auth=NobaRequestsAuth(channel, os.environ["NOBA_KEY"], url), timeout=30)


def noon(channel):
    url = os.environ["NOON_URL"]
    return requests.get(url + "/identity/v1/whoami", auth=NoonRequestsAuth(channel, os.environ["NOON_KEY"], url), timeout=30)


def main():
    accepted = True
    with connect(os.environ["SIGNERD_ADDRESS"], ca=os.environ.get("SIGNERD_TLS_CA"),
                 certificate=os.environ.get("SIGNERD_TLS_CERT"), key=os.environ.get("SIGNERD_TLS_KEY")) as channel:
        for name in os.environ.get("PARTNERS", "noah,noba,noon").split(","):
            response = {"noah": noah, "noba": noba, "noon": noon}[name](channel)
            print(name, response.status_code, response.text.strip())
            accepted = accepted and response.status_code == 200
    return 0 if accepted else 1


if __name__ == "__main__":
    sys.exit(main())
