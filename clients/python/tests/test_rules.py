"""What the helpers repeat, follow and refuse."""
import io
import logging
import os
import threading

import grpc
import httpcore
import httpx
import pytest
import requests

import signerd_auth
from signerd_auth import NotSigned, connect

SECRETS = ("signature-", "apikey_secret", "_npsid")


def signature(seen):
    """The signature, or session, of a request that the partner noted."""
    headers = seen[2]
    return headers["Api-Signature"] or headers["X-Noba-Signature"] or headers["Cookie"]


@pytest.mark.parametrize("partner_name", ["noah", "noba"])
def test_a_401_is_not_tried_again_with_another_signature(send, signerd, partner, partner_name):
    partner.answers = [(401, {})]
    answer = send(partner_name, "POST", partner.url + "/x", base_url=partner.url, body=b"{}")
    assert (answer.status_code, len(partner.seen), len(signerd.asked)) == (401, 1, 1)


@pytest.mark.parametrize("body", [None, b"the body", "Zoë"], ids=repr)
def test_a_401_from_noon_is_tried_once_more_with_another_session(send, signerd, partner, body):
    partner.answers = [(401, {})]
    answer = send("noon", "POST", partner.url + "/x?a=1", base_url=partner.url, body=body)
    assert answer.status_code == 200
    assert [r.rejected_session_id for r in signerd.asked] == ["", "session-1"]
    assert [signature(s) for s in partner.seen] == ["_npsid=signature-1", "_npsid=signature-2"]
    want = body.encode() if isinstance(body, str) else body or b""
    assert [(s[1], s[3]) for s in partner.seen] == [("/x?a=1", want)] * 2
    assert [r.status_code for r in answer.history] == [401]


def test_a_second_401_from_noon_is_the_answer(send, signerd, partner):
    partner.answers = [(401, {}), (401, {})]
    answer = send("noon", "GET", partner.url + "/x", base_url=partner.url)
    assert (answer.status_code, len(partner.seen), len(signerd.asked)) == (401, 2, 2)


def test_a_401_that_the_session_did_not_cause_is_the_answer(send, signerd, partner):
    signerd.session_id, partner.answers = "session-of-today", [(401, {})]
    answer = send("noon", "POST", partner.url + "/x", base_url=partner.url, body=b"once")
    assert (answer.status_code, answer.content, len(partner.seen)) == (401, b"{}", 1)
    assert [r.rejected_session_id for r in signerd.asked] == ["", "session-of-today"]


def test_a_file_is_rewound_to_where_it_stood(signerd, partner):
    partner.answers = [(401, {})]
    file = io.BytesIO(b"skipped, and sent")
    file.seek(8)
    with connect(signerd.address) as channel:
        answer = requests.post(partner.url + "/x", data=file, auth=signerd_auth.NoonRequestsAuth(channel, "noon-app", partner.url))
    assert answer.status_code == 200
    assert [s[3] for s in partner.seen] == [b" and sent"] * 2


async def chunks():
    yield b"never"
    yield b"twice"


def stream(way):
    return chunks() if way == "httpx async" else iter([b"never", b"twice"])


def test_what_cannot_be_sent_again_is_not_tried_again(send, signerd, partner):
    partner.answers = [(401, {})]
    answer = send("noon", "POST", partner.url + "/x", base_url=partner.url, body=stream(send.way))
    assert (answer.status_code, len(signerd.asked)) == (401, 1)
    assert [s[3] for s in partner.seen] == [b"nevertwice"]


@pytest.mark.parametrize("partner_name", ["noah", "noba"])
def test_a_streaming_body_is_refused(send, signerd, partner, partner_name):
    with pytest.raises(NotSigned, match="a streaming body cannot be signed"):
        send(partner_name, "POST", partner.url + "/x", base_url=partner.url, body=stream(send.way))
    assert not signerd.asked and not partner.seen


def test_a_pipe_is_refused(signerd, partner):
    reading, writing = os.pipe()
    os.close(writing)
    with connect(signerd.address) as channel, os.fdopen(reading, "rb") as pipe:
        with pytest.raises(NotSigned, match="a streaming body cannot be signed"):
            requests.post(partner.url + "/x", data=pipe, auth=signerd_auth.NoahRequestsAuth(channel, "noah-app", partner.url))
    assert not signerd.asked and not partner.seen


@pytest.mark.parametrize("partner_name", ["noah", "noba", "noon"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_is_not_followed_with_a_used_signature(send, signerd, partner, elsewhere, partner_name, status, method):
    for to in (elsewhere.url + "/y", "/y"):
        partner.seen.clear()
        partner.answers = [(status, {"Location": to})]
        with pytest.raises(NotSigned, match="redirect"):
            send(partner_name, method, partner.url + "/x", base_url=partner.url, body=b"{}" if method == "POST" else None, follow=True)
        assert len(partner.seen) == 1 and not elsewhere.seen


def test_a_redirect_after_the_second_try_is_not_followed_either(send, signerd, partner, elsewhere):
    partner.answers = [(401, {}), (307, {"Location": elsewhere.url + "/y"})]
    with pytest.raises(NotSigned, match="redirect"):
        send("noon", "GET", partner.url + "/x", base_url=partner.url, follow=True)
    assert len(partner.seen) == 2 and not elsewhere.seen


def test_httpx_gives_a_redirect_to_those_who_do_not_follow_and_signs_the_next_request_again(signerd, partner, elsewhere):
    with connect(signerd.address) as channel, httpx.Client(auth=signerd_auth.NoahHttpxAuth(channel, "noah-app", partner.url)) as client:
        partner.answers = [(307, {"Location": "/y?b=2"}), (307, {"Location": elsewhere.url + "/z"})]
        answer = client.post(partner.url + "/x", content=b"{}")
        assert answer.status_code == 307
        answer = client.send(answer.next_request)
        assert [r.path for r in signerd.asked] == ["/x", "/y?b=2"]
        assert [signature(s) for s in partner.seen] == ["signature-1", "signature-2"]
        with pytest.raises(NotSigned, match="another host"):
            client.send(answer.next_request)
    assert not elsewhere.seen


@pytest.mark.parametrize("partner_name", ["noah", "noba", "noon"])
def test_another_host_is_refused(send, signerd, partner, elsewhere, partner_name):
    for url in (elsewhere.url, partner.url.replace("127.0.0.1", "localhost"), partner.url.replace("http:", "https:"),
                partner.url.replace("//", "//localhost@127.0.0.2:80/")):
        with pytest.raises(NotSigned, match="another host"):
            send(partner_name, "GET", url + "/x", base_url=partner.url)
    assert not signerd.asked and not partner.seen and not elsewhere.seen


CLASSES = [getattr(signerd_auth, name + library + "Auth") for name in ("Noah", "Noba", "Noon") for library in ("Requests", "Httpx")]


@pytest.mark.parametrize("auth", CLASSES)
@pytest.mark.parametrize("url", [
    "http://api.noah.com", "HTTP://api.noah.com:443", "http://10.0.0.1", "http://128.0.0.1", "http://127.0.0.1.example", "http://127.0.0.256",
    "http://localhost.example", "http://localhost@api.noah.com", "http://[::2]", "http://", "api.noah.com"])
def test_plain_http_to_other_hosts_is_refused(signerd, auth, url):
    with connect(signerd.address) as channel, pytest.raises(ValueError, match="has to be https"):
        auth(channel, "app", url)


@pytest.mark.parametrize("auth", CLASSES)
@pytest.mark.parametrize("url", [
    "https://api.noah.com", "http://localhost:1", "http://LOCALHOST", "http://127.0.0.1:1", "http://127.255.255.254", "http://[::1]:1"])
def test_https_and_loopback_are_taken(signerd, auth, url):
    with connect(signerd.address) as channel:
        auth(channel, "app", url)


@pytest.mark.parametrize("partner_name", ["noah", "noba", "noon"])
def test_the_host_of_the_url_is_the_one_that_goes_out(send, partner, partner_name):
    for name in ("Host", "host"):
        send(partner_name, "GET", partner.url + "/x", base_url=partner.url, headers={name: "elsewhere.example"})
    assert [s[2].get_all("Host") for s in partner.seen] == [[partner.url.removeprefix("http://")]] * 2


def test_a_session_of_another_gateway_is_not_sent(send, signerd, partner):
    signerd.session_url = "https://noon-api-gateway.noon.partners"
    with pytest.raises(NotSigned, match="another host"):
        send("noon", "GET", partner.url + "/x", base_url=partner.url)
    assert not partner.seen


def test_every_request_is_signed_again(signerd, partner):
    with connect(signerd.address) as channel, requests.Session() as session:
        session.auth = signerd_auth.NoahRequestsAuth(channel, "noah-app", partner.url)
        for _ in range(3):
            session.get(partner.url + "/x")
    assert [signature(s) for s in partner.seen] == ["signature-1", "signature-2", "signature-3"]


def test_what_is_signed_is_what_goes_out(send, signerd, partner):
    for target in ("/a%2fb/%7e?q=%2f+é&q=%20", "/a/%2e%2e/b", "/", "/?"):
        send("noah", "POST", partner.url + target, base_url=partner.url, body=b" {}\n")
    for params in ("q[]=%2f&é= &%zz", {"q[]": ["%2f", "é "], "a": ""}):
        send("noah", "POST", partner.url + "/x", base_url=partner.url, params=params)
    assert [(r.method, r.path, r.body) for r in signerd.asked] == [(s[0], s[1], s[3]) for s in partner.seen]
    assert len(partner.seen) == 6


def test_httpx_signs_a_target_that_stands_in_for_the_urls(signerd, partner):
    with connect(signerd.address) as channel, httpx.Client(auth=signerd_auth.NoahHttpxAuth(channel, "noah-app", partner.url)) as client:
        client.get(partner.url + "/x", extensions={"target": b"/a/../%7e"})
    assert signerd.asked[0].path == partner.seen[0][1] == "/a/../%7e"


def test_the_callers_own_trace_is_told_too(signerd, partner):
    events = []
    with connect(signerd.address) as channel, httpx.Client(auth=signerd_auth.NoahHttpxAuth(channel, "noah-app", partner.url)) as client:
        client.get(partner.url + "/x", extensions={"trace": lambda event, info: events.append(event)})
    assert "http11.send_request_headers.started" in events


def test_a_proxys_connect_is_not_the_request(signerd, partner):
    with connect(signerd.address) as channel:
        request = httpx.Request("GET", partner.url + "/x")
        next(signerd_auth.NoahHttpxAuth(channel, "noah-app", partner.url).sync_auth_flow(request))
        for method in ("CONNECT", "GET"):
            request.extensions["trace"]("http11.send_request_headers.started", {"request": httpcore.Request(method, partner.url)})
        with pytest.raises(NotSigned, match="redirect"):
            request.extensions["trace"]("http2.send_request_headers.started", {"request": httpcore.Request("GET", partner.url)})


def test_httpx_through_a_proxy_goes_out_once(signerd, partner):
    url = "http://127.0.0.2"  # the proxy alone is called
    with connect(signerd.address) as channel, httpx.Client(proxy=partner.url) as client:
        auth = signerd_auth.NoahHttpxAuth(channel, "noah-app", url)
        assert client.get(url + "/x?a=%2f", auth=auth).status_code == 200
    assert (signerd.asked[0].path, partner.seen[0][1]) == ("/x?a=%2f", url + "/x?a=%2f")


def test_cookies_of_a_jar_do_not_go_beside_the_session(send, signerd, partner):
    send("noon", "GET", partner.url + "/x", base_url=partner.url, headers={"Cookie": "_npsid=old"})
    assert partner.seen[0][2].get_all("Cookie") == ["_npsid=signature-1"]


def test_nothing_secret_is_logged_or_told(send, signerd, partner, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    signerd.warnings = ["the body is not in the form that JSON.stringify gives"]
    for name in ("noah", "noba", "noon"):
        send(name, "POST", partner.url + "/x", base_url=partner.url, body=b'{"a": 1}')
        partner.answers = [(307, {"Location": "/y"})]
        with pytest.raises(NotSigned) as told:
            send(name, "POST", partner.url + "/x", base_url=partner.url, body=b'{"a": 1}', follow=True)
        assert not any(secret in str(told.value) for secret in SECRETS)
    ours = [r.getMessage() for r in caplog.records if r.name == "signerd"]
    assert ours and all("JSON.stringify" in text for text in ours)
    out = "".join(ours) + "".join(capfd.readouterr())
    assert not any(secret in out for secret in SECRETS)


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL])
def test_what_signerd_refuses_is_not_asked_again(send, signerd, partner, code):
    signerd.failures = [code] * 5
    with pytest.raises(grpc.RpcError) as refused:
        send("noah", "GET", partner.url + "/x", base_url=partner.url)
    assert refused.value.code() == code and len(signerd.asked) == 1 and not partner.seen


def test_signerd_is_asked_again_when_it_is_unavailable(send, signerd, partner):
    signerd.failures = [grpc.StatusCode.UNAVAILABLE] * 2
    assert send("noah", "GET", partner.url + "/x", base_url=partner.url).status_code == 200
    assert len(signerd.asked) == 3


def test_a_call_ends_at_its_deadline(signerd, partner):
    signerd.hang = threading.Event()
    try:
        with connect(signerd.address, deadline="0.2s") as channel, pytest.raises(grpc.RpcError) as ended:
            requests.get(partner.url + "/x", auth=signerd_auth.NoahRequestsAuth(channel, "noah-app", partner.url))
        assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        signerd.hang.set()


def test_tcp_needs_certificates():
    with pytest.raises(ValueError, match="PEM"):
        connect("127.0.0.1:1")


def test_a_channel_of_the_other_kind_is_refused(signerd, partner):
    import asyncio

    async def main():
        async with connect(signerd.address, aio=True) as channel:
            with pytest.raises(NotSigned, match="aio"):
                requests.get(partner.url + "/x", auth=signerd_auth.NoahRequestsAuth(channel, "noah-app", partner.url))
        with connect(signerd.address) as channel:
            async with httpx.AsyncClient(auth=signerd_auth.NoahHttpxAuth(channel, "noah-app", partner.url)) as client:
                with pytest.raises(NotSigned, match="aio"):
                    await client.get(partner.url + "/x")

    asyncio.run(main())
    assert not signerd.asked
