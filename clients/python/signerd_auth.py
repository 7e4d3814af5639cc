"""Signs requests to NOAH, Noba and Noon through signerd, for requests and httpx.

    channel = connect("unix:///run/signerd/signerd.sock")
    session.auth = NoahRequestsAuth(channel, key="noah-app", base_url="https://api.noah.com")

What goes out is signed, each time anew, for the host of base_url alone. Noba's warnings alone are logged. Stubs: PYTHONPATH=gen (README.md).
"""
import functools
import json
import logging
import re
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import requests

from signerd.v1 import signer_pb2 as pb, signer_pb2_grpc

_log = logging.getLogger("signerd")


class NotSigned(Exception):
    """A request that this module does not sign, or does not let go out again; the text says why."""


def connect(address, *, ca=None, certificate=None, key=None, deadline="10s", aio=False):
    """A channel to signerd: "unix:///path", or "host:port" with three PEM files for mutual TLS.

    Every call has the deadline, and is tried again when signerd is UNAVAILABLE, and then only. aio=True gives the channel
    that httpx.AsyncClient needs; call it where the event loop runs. Close the channel when done.
    """
    retry = {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
             "retryableStatusCodes": ["UNAVAILABLE"]}
    config = {"methodConfig": [{"name": [{"service": "signerd.v1.SignerService"}], "timeout": deadline, "retryPolicy": retry}]}
    options = [("grpc.service_config", json.dumps(config)), ("grpc.enable_http_proxy", 0),
               ("grpc.keepalive_time_ms", 60_000), ("grpc.keepalive_timeout_ms", 10_000)]  # signerd allows a ping in 30 s
    make = grpc.aio if aio else grpc
    if address.startswith("unix:"):
        return make.insecure_channel(address, options=options)
    if not (ca and certificate and key):
        raise ValueError("signerd over TCP needs the PEM files ca, certificate and key")
    return make.secure_channel(address, grpc.ssl_channel_credentials(*(Path(p).read_bytes() for p in (ca, key, certificate))), options=options)


def _origin(url):
    u = urlsplit(url)
    return u.scheme, u.hostname, u.port or {"http": 80, "https": 443}.get(u.scheme)


class _Signer:
    requires_request_body = True  # a session is the same for every request, and a 401 may end it
    def __init__(self, channel, key, base_url):
        self._aio, self._key, self._base = isinstance(channel, grpc.aio.Channel), key, _origin(base_url)
        if self._base[0] != "https" and not re.fullmatch(r"localhost|::1|127(\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}", self._base[1] or ""):
            raise ValueError("base_url has to be https://; plain http is for loopback alone: anybody on the way could read API keys and sessions")
        self._stub = signer_pb2_grpc.SignerServiceStub(channel)

    def _expect(self, url, aio):
        if _origin(url) != self._base:
            raise NotSigned("the request is for another host than base_url")
        if aio != self._aio:
            raise NotSigned("httpx.AsyncClient needs a channel of connect(…, aio=True), and everything else one without aio")

    def _put(self, headers, answer):
        if not self.requires_request_body and _origin(answer.base_url) != self._base:
            raise NotSigned("the session belongs to another host than base_url")
        for warning in getattr(answer, "warnings", ()):
            _log.warning("the partner may refuse this request: %s", warning)
        headers.update(dict(answer.headers))
        return answer


class _Noah(_Signer):
    def _ask(self, method, target, body, rejected=""):
        return self._stub.SignNoahRequest(pb.SignNoahRequestRequest(key=self._key, method=method, path=target, body=body))


class _Noba(_Signer):
    def _ask(self, method, target, body, rejected=""):
        return self._stub.ComputeNobaSignature(pb.ComputeNobaSignatureRequest(key=self._key, method=method, path=target, body=body))


class _Noon(_Signer):
    requires_request_body = False
    def _ask(self, method, target, body, rejected=""):
        return self._stub.GetNoonSession(pb.GetNoonSessionRequest(key=self._key, rejected_session_id=rejected))


class _RequestsAuth(requests.auth.AuthBase):
    def __call__(self, r):
        self._expect(r.url, aio=False)
        if self.requires_request_body:
            r.body = _bytes(r.body)
            r.headers.pop("Transfer-Encoding", None)  # requests gives the bytes their Content-Length
        r.headers.pop("Host", None)  # the URL's goes out
        r.prepare_url(r.url, None)  # what params= added is escaped now, which urllib3 would do after the signing
        answer = self._put(r.headers, self._ask(r.method, r.path_url, r.body))
        r.register_hook("response", functools.partial(self._received, getattr(answer, "session_id", "")))
        return r

    def _received(self, session_id, response, **options):
        """A response hook: the second try of a session, and no redirect: requests would send the old signature along."""
        if not self.requires_request_body and response.status_code == 401:
            response = self._again(session_id, response, options)
        if response.is_redirect:
            response.close()
            raise NotSigned(f"the partner answered with the redirect {response.status_code}, which is not followed with a used signature")
        return response

    def _again(self, session_id, response, options):
        request = response.request.copy()
        if not isinstance(request.body, (type(None), bytes, str)):
            try:
                requests.utils.rewind_body(request)
            except requests.exceptions.UnrewindableBodyError:
                return response
        answer = self._ask("", "", b"", rejected=session_id)
        if answer.session_id == session_id:  # signerd has asked Noon, which accepts it: the 401 has another cause
            return response
        response.content  # read to its end, so that the connection can be used again
        response.close()
        self._put(request.headers, answer)
        second = response.connection.send(request, **options)
        second.request, second.history = request, [response]
        return second


def _bytes(body):
    """The body as it will go out. What cannot be read twice is refused: its bytes would have to be known before they are sent."""
    if hasattr(body, "read") and hasattr(body, "seekable") and body.seekable():
        body = body.read()
    if body is None or isinstance(body, (str, bytes, bytearray, memoryview)):
        return body.encode() if isinstance(body, str) else body if body is None else bytes(body)
    raise NotSigned("a streaming body cannot be signed: give bytes, a str or a file that can seek")


class _HttpxAuth(httpx.Auth):
    def _ready(self, request, aio):
        self._expect(str(request.url), aio)
        request.headers["Host"] = request.url.netloc.decode("ascii")  # whatever the caller's was
        request.extensions = {**request.extensions, "trace": _Once(request.extensions.get("trace"), aio)}
        target = request.extensions.get("target", request.url.raw_path)
        return request.method, target.decode("ascii"), request.content if self.requires_request_body else b""

    def _needs_reading(self, request):
        if self.requires_request_body and "Transfer-Encoding" in request.headers:
            raise NotSigned("a streaming body cannot be signed: give bytes, a str or a file that can seek")
        return self.requires_request_body

    def _may_repeat(self, request, response):
        return not self.requires_request_body and response.status_code == 401 and isinstance(request.stream, httpx.ByteStream)

    def sync_auth_flow(self, request):
        if self._needs_reading(request):
            request.read()
        answer = self._put(request.headers, self._ask(*self._ready(request, aio=False)))
        response = yield request
        if self._may_repeat(request, response):
            again = self._ask(*self._ready(request, aio=False), rejected=answer.session_id)
            if again.session_id != answer.session_id:
                self._put(request.headers, again)
                yield request

    async def async_auth_flow(self, request):
        if self._needs_reading(request):
            await request.aread()
        answer = self._put(request.headers, await self._ask(*self._ready(request, aio=True)))
        response = yield request
        if self._may_repeat(request, response):
            again = await self._ask(*self._ready(request, aio=True), rejected=answer.session_id)
            if again.session_id != answer.session_id:
                self._put(request.headers, again)
                yield request


class _Once:
    """A trace of httpx, which a redirect inherits with the headers: they go out once, and then raise."""
    def __init__(self, earlier, aio):
        self.earlier, self._aio, self._sent = earlier.earlier if isinstance(earlier, _Once) else earlier, aio, False

    def __call__(self, event, info):
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            if self._sent:
                raise NotSigned("a redirect is not followed with a used signature")
            self._sent = True
        return self.earlier(event, info) if self.earlier else _nothing() if self._aio else None


async def _nothing(): pass


class NoahRequestsAuth(_Noah, _RequestsAuth): """requests, to NOAH."""
class NobaRequestsAuth(_Noba, _RequestsAuth): """requests, to Noba."""
class NoonRequestsAuth(_Noon, _RequestsAuth): """requests, to Noon: with its session."""
class NoahHttpxAuth(_Noah, _HttpxAuth): """httpx, to NOAH."""
class NobaHttpxAuth(_Noba, _HttpxAuth): """httpx, to Noba."""
class NoonHttpxAuth(_Noon, _HttpxAuth): """httpx, to Noon: with its session."""
