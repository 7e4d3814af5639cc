"""What the tests have in common: ways to send, a signerd and a partner that note what they are asked."""
import asyncio
import os
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import httpx
import pytest
import requests

import signerd_auth
from signerd.v1 import signer_pb2 as pb
from signerd.v1 import signer_pb2_grpc

WAYS = ("requests", "httpx", "httpx async")


class Sender:
    """Sends with one library, through the signerd at an address."""

    def __init__(self, way, address):
        self.way, self.address = way, address

    def auth(self, partner, channel, key, base_url):
        library = "Requests" if self.way == "requests" else "Httpx"
        return getattr(signerd_auth, partner.title() + library + "Auth")(channel, key, base_url)

    def __call__(self, partner, method, url, *, base_url, key=None, body=None, follow=False, hook=None, **options):
        """The answer to one request; hook changes the request after it was signed."""
        key = key or partner + "-app"
        if self.way == "requests":
            with signerd_auth.connect(self.address) as channel, requests.Session() as session:
                request = requests.Request(method, url, data=body, auth=self.auth(partner, channel, key, base_url), **options)
                prepared = session.prepare_request(request)
                if hook:
                    hook(prepared)
                return session.send(prepared, timeout=30)
        if self.way == "httpx":
            with signerd_auth.connect(self.address) as channel, \
                    httpx.Client(timeout=30, event_hooks={"request": [hook] if hook else []}) as client:
                auth = self.auth(partner, channel, key, base_url)
                return client.request(method, url, content=body, auth=auth, follow_redirects=follow, **options)
        return asyncio.run(self.aio(partner, method, url, key, base_url, body, follow, hook, options))

    async def aio(self, partner, method, url, key, base_url, body, follow, hook, options):
        async def change(request):
            if hook:
                hook(request)

        async with signerd_auth.connect(self.address, aio=True) as channel, \
                httpx.AsyncClient(timeout=30, event_hooks={"request": [change]}) as client:
            auth = self.auth(partner, channel, key, base_url)
            return await client.request(method, url, content=body, auth=auth, follow_redirects=follow, **options)


class Partner:
    """A partner over HTTP that notes what it is sent, and gives the answers it was told to give; 200 after these."""

    def __init__(self):
        self.seen, self.answers = [], []
        partner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                partner.seen.append((self.command, self.path, self.headers, body))
                status, headers = partner.answers.pop(0) if partner.answers else (200, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # clients that hang up are no news
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Signerd(signer_pb2_grpc.SignerServiceServicer):
    """A signerd over a Unix socket that makes headers of numbers, and notes what it is asked."""

    def __init__(self, folder):
        self.asked, self.failures, self.warnings = [], [], []
        self.session_url, self.session_id, self.hang = "", None, None  # without a session_id, each session has a new one
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        signer_pb2_grpc.add_SignerServiceServicer_to_server(self, self.server)
        self.address = f"unix://{folder}/s"
        self.server.add_insecure_port(self.address)
        self.server.start()

    def note(self, request, context):
        self.asked.append(request)
        if self.hang:
            self.hang.wait()
        if self.failures:
            context.abort(self.failures.pop(0), "as the test wants")
        return str(len(self.asked))

    def SignNoahRequest(self, request, context):
        n = self.note(request, context)
        return pb.SignNoahRequestResponse(headers={"X-Api-Key": "apikey_secret", "Api-Signature": "signature-" + n})

    def ComputeNobaSignature(self, request, context):
        n = self.note(request, context)
        return pb.ComputeNobaSignatureResponse(
            headers={"X-Noba-API-Key": "secret", "X-Noba-Signature": "signature-" + n, "X-Noba-Timestamp": "1"}, warnings=self.warnings)

    def GetNoonSession(self, request, context):
        n = self.note(request, context)
        return pb.GetNoonSessionResponse(
            headers={"Cookie": "_npsid=signature-" + n, "User-Agent": "Example/1.0"}, session_id=self.session_id or "session-" + n, base_url=self.session_url)


@pytest.fixture
def partner():
    p = Partner()
    yield p
    p.close()


@pytest.fixture
def elsewhere():
    """Another host."""
    p = Partner()
    yield p
    p.close()


@pytest.fixture
def signerd(tmp_path, partner):
    s = Signerd(tmp_path)
    s.session_url = partner.url
    yield s
    s.server.stop(None).wait()


@pytest.fixture(params=WAYS)
def send(request, signerd):
    """Sends through the signerd that notes."""
    return Sender(request.param, signerd.address)


@pytest.fixture(params=WAYS)
def real(request):
    """Sends to the local partners, through the real signerd."""
    sender = Sender(request.param, os.environ["SIGNERD_ADDRESS"])

    def to(partner, method, target, **options):
        base = os.environ[partner.upper() + "_URL"]
        return sender(partner, method, base + target, base_url=base, key=os.environ[partner.upper() + "_KEY"], **options)

    to.way = request.param
    return to
