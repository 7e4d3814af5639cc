"""The local partners accept what the helpers sign, and refuse what is changed on the way."""
import base64
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

TARGETS = [
    "/",
    "/v1/a%2Fb/c%2fd",
    "/v1/caf%C3%A9/caf%c3%a9",
    "/café/日本?q=é",
    "/v1/x?a=1+2&b=a%20b&c=%2B&d=%2f",
    "/v1/x?a=1&b=2&a=3&a=",
    "/v1/x?a",
    "/v1/x?",
    "/v1/x?e=%F0%9F%98%80&%C3%A9=%25",
    "/v1/x?next=/a/b?c=d",
    "/v1/x?list[]=1&list[]=2",
    "/v1/x?a=b=c&d==",
    "/a/./b/../c",
    "/a/%2e%2e/b",
    "/~user/-._~!$&'()*+,;=:@/",
    "/v1/with space?and=a space",
    "/a//b/",
    "/v1/x?Z=1&a=2&M=3",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("partner", ["noah", "noba"])
def test_odd_targets_are_accepted(real, partner, target):
    answer = real(partner, "POST", target, body=b'{"a":1}')
    assert answer.status_code == 200, answer.text


def test_query_given_as_params_is_accepted(real):
    answer = real("noah", "GET", "/v1/x?first=1", params=[("name", "Zoë & co"), ("n", "a b+c/d"), ("n", "%2F"), ("empty", "")])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get", "PROPFIND"])
@pytest.mark.parametrize("partner", ["noah", "noba"])
def test_methods_are_accepted(real, partner, method):
    answer = real(partner, method, "/v1/x?a=1")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("size", [0, 1, 2, 1000, 65_536, 1 << 20])
def test_bodies_of_any_bytes_are_accepted_by_noah(real, size):
    answer = real("noah", "PUT", "/v1/files/x?a=1", body=random.Random(size).randbytes(size))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, (1 << 20) - 20])
def test_json_bodies_are_accepted_by_noba(real, size):
    answer = real("noba", "POST", "/v1/transactions?dry=1", body=json.dumps({"note": "é" + "x" * size}, separators=(",", ":"), ensure_ascii=False).encode())
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("body", [None, b"", "", "Zoë", '{"name":"Zoë"}', b"\xff\x00"], ids=repr)
def test_kinds_of_bodies_are_accepted(real, body):
    answer = real("noah", "POST", "/v1/x", body=body)
    assert answer.status_code == 200, answer.text


def test_json_forms_and_files_of_the_libraries_are_accepted(real):
    for options in ({"json": {"name": "Zoë", "n": [1, 2.5, None]}}, {"files": {"file": ("a.txt", b"content", "text/plain")}}):
        answer = real("noah", "POST", "/v1/x?a=1", **options)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("real", ["requests", "httpx"], indirect=True)  # httpx.AsyncClient takes no files that block
@pytest.mark.parametrize("content", [b"content", b""])
def test_open_files_are_accepted(real, content):
    answer = real("noah", "POST", "/v1/x", body=io.BytesIO(content))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("real", ["requests"], indirect=True)  # httpx counts a file's bytes from its beginning
@pytest.mark.parametrize("content", [b"skipped, and sent", b"skipped,"])
def test_open_files_are_accepted_from_where_they_stand(real, content):
    file = io.BytesIO(content)
    file.seek(len(b"skipped,"))
    answer = real("noah", "POST", "/v1/x", body=file)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("real", ["requests"], indirect=True)  # httpx takes bytes alone
def test_files_in_text_mode_are_accepted(real, tmp_path):
    (tmp_path / "body").write_text("Zoë", encoding="utf-8")
    with open(tmp_path / "body", encoding="utf-8") as file:
        answer = real("noah", "POST", "/v1/x", body=file)
    assert answer.status_code == 200, answer.text


def test_noon_knows_who_we_are(real):
    answer = real("noon", "GET", "/identity/v1/whoami?a=%2F+b")
    assert answer.status_code == 200, answer.text
    assert "account" in answer.json()


def change_target(old, new):
    def hook(request):
        if isinstance(request, httpx.Request):
            request.url = request.url.copy_with(raw_path=request.url.raw_path.replace(old.encode(), new.encode()))
        else:
            request.url = request.url.replace(old, new)
    return hook


def change_body(old, new):
    def hook(request):
        if isinstance(request, httpx.Request):
            request.stream = httpx.ByteStream(request.content.replace(old, new))
        else:
            request.body = request.body.replace(old, new)
    return hook


@pytest.mark.parametrize(("partner", "hook"), [
    ("noah", change_target("fiat", "fiaT")), ("noah", change_target("PageSize=20", "PageSize=21")), ("noah", change_body(b"10.50", b"10.51")),
    ("noba", change_target("fiat", "fiaT")), ("noba", change_body(b"10.50", b"10.51")),
], ids=["noah-path", "noah-query", "noah-body", "noba-path", "noba-body"])
def test_one_changed_byte_is_refused(real, partner, hook):
    answer = real(partner, "POST", "/v1/checkout/fiat?PageSize=20", body=b'{"amount":"10.50"}', hook=hook)
    assert answer.status_code == 401
    assert not answer.json()["accepted"]


SOAK = Path(__file__).parent.parent / "soak.py"


def soak(tmp_path, requests):
    file = tmp_path / "requests"
    file.write_text("".join(json.dumps(r) + "\n" for r in requests))
    done = subprocess.run([sys.executable, str(SOAK), str(file)], capture_output=True, text=True, env=os.environ, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_soak_accepts_a_file_of_requests(tmp_path):
    body = base64.b64encode(b'{"a":1}').decode()
    requests = [{"partner": p, "method": m, "target": t, "body_base64": body if m == "POST" else ""}
                for p in ("noah", "noba") for m in ("GET", "POST") for t in ("/v1/x?a=%2F+b&a=1", "/caf%C3%A9/%2f")]
    requests += [{"partner": "noon", "method": "GET", "target": "/identity/v1/whoami", "body_base64": ""}] * 2
    assert soak(tmp_path, requests) == (0, f"{len(requests)} requests accepted\n")


def test_soak_ends_at_the_first_refusal(tmp_path):
    code, told = soak(tmp_path, [{"partner": "noba", "method": "POST", "target": "/v1/x", "body_base64": ""},
                                 {"partner": "noba", "method": "POST", "target": "/v1/x", "body_base64": "bm90IEpTT04="}])
    assert code == 1 and told.startswith("line 2: noba POST /v1/x"), told


def random_request(rand):
    """A request that NOAH or Noba may get: any characters of RFC 3986, escapes in either case, queries that say UTF-8."""
    def text(allowed, longest):
        out = ""
        for _ in range(rand.randrange(longest)):
            if rand.random() < 0.3:
                escapes = "".join(f"%{b:02x}" for b in rand.choice("a/ +&=%~?#é€😀\n").encode())
                out += rand.choice((escapes, escapes.upper()))
            else:
                out += rand.choice(allowed)
        return out

    path = "/v1/" + "/".join(text("abcXYZ019-_~!$&'()*+,;=:@.", 12) for _ in range(rand.randrange(4)))
    pairs = [text("abcXYZ019-_~!$'()*+,;:@./?", 8) + rand.choice(("", "=")) + text("abcXYZ019-_~!$'()*+,;:@./?=", 8) for _ in range(rand.randrange(4))]
    query = "&".join(pair for pair in pairs if pair)
    partner = rand.choice(("noah", "noba"))
    size = rand.choice((0, 1, 100, 5000, 1 << 20))
    if partner == "noah":
        body = rand.randbytes(size)
    else:
        body = json.dumps({"note": "é" * (size // 2)}, separators=(",", ":"), ensure_ascii=False).encode() if size else b""
    return {"partner": partner, "method": rand.choice(("GET", "POST", "PUT", "PATCH", "DELETE")),
            "target": path + ("?" + query if query else ""), "body_base64": base64.b64encode(body).decode()}


def test_random_requests_are_accepted(tmp_path):
    rand = random.Random(7)
    count = 200
    code, told = soak(tmp_path, [random_request(rand) for _ in range(count)])
    assert code == 0, told
