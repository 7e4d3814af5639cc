package io.github.signerd.client;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.sun.net.httpserver.HttpServer;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpRequest;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import signerd.v1.Signer.ComputeNobaSignatureRequest;
import signerd.v1.Signer.ComputeNobaSignatureResponse;
import signerd.v1.Signer.GetNoonSessionRequest;
import signerd.v1.Signer.GetNoonSessionResponse;
import signerd.v1.Signer.SignNoahRequestRequest;
import signerd.v1.Signer.SignNoahRequestResponse;
import signerd.v1.SignerServiceGrpc.SignerServiceImplBase;

/** The helper between a signerd and a partner that only write down what they get. */
class SignerdTest {
  private static final byte[] NONE = new byte[0];

  private record Seen(String method, String target, byte[] body, String header) {}

  private final List<Seen> sent = new ArrayList<>();
  private final Queue<Integer> statuses = new ArrayDeque<>(); // of the partner; then 200
  private final List<Object> asked = new ArrayList<>();
  private final Queue<Status> refusals = new ArrayDeque<>(); // by signerd; then it answers
  private Server server;
  private HttpServer partner;
  private Signerd signerd;
  private String gateway;
  private String session; // signerd's; null for a new one each time

  @BeforeEach
  void start() throws Exception {
    partner = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    partner.createContext("/", exchange -> {
      var status = statuses.isEmpty() ? 200 : statuses.remove();
      sent.add(new Seen(exchange.getRequestMethod(), exchange.getRequestURI().toString(), exchange.getRequestBody().readAllBytes(),
          exchange.getRequestHeaders().getFirst("X-Signed")));
      exchange.getResponseHeaders().set("Location", "/elsewhere");
      exchange.sendResponseHeaders(status, -1);
      exchange.close();
    });
    partner.start();
    gateway = at("");
    server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(new Scribe()).build().start();
    signerd = new Signerd(Grpc.newChannelBuilder("127.0.0.1:" + server.getPort(), InsecureChannelCredentials.create()));
  }

  @AfterEach
  void stop() {
    signerd.close();
    server.shutdownNow();
    partner.stop(0);
  }

  private String at(String target) {
    return "http://127.0.0.1:" + partner.getAddress().getPort() + target;
  }

  private HttpRequest.Builder to(String target) {
    return HttpRequest.newBuilder(URI.create(at(target)));
  }

  @Test
  void noahSignsTheTargetAndBodyThatGoOut() throws Exception {
    var target = "/v1/a%2Fb/caf%C3%A9?Note=caf%C3%A9%20au+lait&b=&a&b=2";
    var body = "{\"Name\": \"Zo\u00eb\"}\r\n".getBytes(UTF_8);
    assertEquals(200, signerd.noah("noah-app", at(""), "POST", to(target), body).statusCode());
    var question = (SignNoahRequestRequest) asked.get(0);
    assertEquals("noah-app POST " + target, question.getKey() + " " + question.getMethod() + " " + question.getPath());
    assertArrayEquals(body, question.getBody().toByteArray());
    assertEquals("POST " + target, sent.get(0).method() + " " + sent.get(0).target());
    assertArrayEquals(body, sent.get(0).body());
    assertEquals("noah 1", sent.get(0).header());
  }

  @Test
  void nobaSignsTheTargetAndBodyThatGoOut() throws Exception {
    var body = "{\"note\":\"Zo\u00eb\"}".getBytes(UTF_8);
    signerd.noba("noba-app", at(""), "PUT", to("/v1/x%20y?dry=1"), body);
    var question = (ComputeNobaSignatureRequest) asked.get(0);
    assertEquals("noba-app PUT /v1/x%20y?dry=1", question.getKey() + " " + question.getMethod() + " " + question.getPath());
    assertArrayEquals(body, question.getBody().toByteArray());
    assertEquals("PUT /v1/x%20y?dry=1", sent.get(0).method() + " " + sent.get(0).target());
    assertArrayEquals(body, sent.get(0).body());
  }

  @Test
  void targetIsWhatHttpClientWrites() throws Exception {
    for (var target : List.of("/", "/?", "/a/../b", "/a//b/", "/a;v=1?x=%7A", "/?a=b?c/d")) {
      sent.clear();
      asked.clear();
      signerd.noah("noah-app", at(""), "GET", to(target), NONE);
      assertEquals(sent.get(0).target(), ((SignNoahRequestRequest) asked.get(0)).getPath());
    }
    assertEquals("/", Signerd.target(URI.create("http://partner.test")));
    assertThrows(IllegalArgumentException.class, () -> Signerd.target(URI.create("http://partner.test/caf\u00e9")));
  }

  @Test
  void aRefusalByNoahOrNobaIsGivenBackAtOnce() throws Exception {
    statuses.addAll(List.of(401, 401));
    assertEquals(401, signerd.noah("noah-app", at(""), "GET", to("/"), NONE).statusCode());
    assertEquals(401, signerd.noba("noba-app", at(""), "GET", to("/"), NONE).statusCode());
    assertEquals(2, sent.size());
  }

  @Test
  void noonIsAskedOnceMoreWithTheSessionAfterTheRejectedOne() throws Exception {
    statuses.add(401);
    var body = "{}".getBytes(UTF_8);
    assertEquals(200, signerd.noon("noon-app", "POST", to("/identity?a=1"), body).statusCode());
    assertEquals(List.of("", "session-1"), asked.stream().map(q -> ((GetNoonSessionRequest) q).getRejectedSessionId()).toList());
    assertEquals(List.of("noon 1", "noon 2"), sent.stream().map(Seen::header).toList());
    assertArrayEquals(body, sent.get(1).body());
  }

  @Test
  void aRefusalByNoonThatTheSessionDidNotCauseIsGivenBackAtOnce() throws Exception {
    statuses.add(401);
    session = "session-of-today";
    assertEquals(401, signerd.noon("noon-app", "POST", to("/"), "{}".getBytes(UTF_8)).statusCode());
    assertEquals(2, asked.size());
    assertEquals(1, sent.size());
  }

  @Test
  void aSecondRefusalByNoonIsGivenBack() throws Exception {
    statuses.addAll(List.of(401, 401));
    assertEquals(401, signerd.noon("noon-app", "GET", to("/"), NONE).statusCode());
    assertEquals(2, sent.size());
  }

  @Test
  void aSessionGoesToItsGatewayOnly() {
    gateway = "https://noon-api-gateway.noon.partners";
    assertThrows(IllegalArgumentException.class, () -> signerd.noon("noon-app", "GET", to("/"), NONE));
    assertEquals(0, sent.size());
  }

  @Test
  void aRequestForAnotherSchemeHostOrPortIsRefusedBeforeSignerdIsAsked() {
    var port = ":" + partner.getAddress().getPort();
    for (var base : List.of("https://127.0.0.1" + port, "http://localhost" + port, "http://127.0.0.1", "https://api.noah.com", "")) {
      assertThrows(IllegalArgumentException.class, () -> signerd.noah("noah-app", base, "GET", to("/"), NONE), base);
      assertThrows(IllegalArgumentException.class, () -> signerd.noba("noba-app", base, "GET", to("/"), NONE), base);
    }
    assertEquals(0, asked.size() + sent.size());
  }

  @Test
  void plainHttpIsForLoopbackHostsOnly() throws Exception {
    for (var base : List.of("http://api.noah.com", "http://10.0.0.1", "http://127.0.0.1.noah.com", "http://localhost.noah.com", "http://[::2]")) {
      var request = HttpRequest.newBuilder(URI.create(base));
      assertThrows(IllegalArgumentException.class, () -> signerd.noah("noah-app", base, "GET", request, NONE), base);
      assertThrows(IllegalArgumentException.class, () -> signerd.noba("noba-app", base, "GET", request, NONE), base);
    }
    assertEquals(0, asked.size() + sent.size());
    for (var base : List.of("http://127.1.2.3", "http://[::1]:8080", "HTTP://LocalHost:8080", "https://api.noah.com/v1")) {
      Signerd.confine(URI.create(base), base);
    }
  }

  @Test
  void aRedirectIsGivenBack() throws Exception {
    statuses.add(307);
    assertEquals(307, signerd.noah("noah-app", at(""), "POST", to("/"), NONE).statusCode());
    assertEquals(1, sent.size());
  }

  @Test
  void signerdIsAskedAgainOnlyWhileItIsUnavailable() throws Exception {
    refusals.addAll(List.of(Status.UNAVAILABLE, Status.UNAVAILABLE));
    assertEquals(200, signerd.noah("noah-app", at(""), "GET", to("/"), NONE).statusCode());
    assertEquals(3, asked.size());
    refusals.add(Status.PERMISSION_DENIED);
    var refusal = assertThrows(StatusRuntimeException.class, () -> signerd.noah("noah-app", at(""), "GET", to("/"), NONE));
    assertEquals(Status.Code.PERMISSION_DENIED, refusal.getStatus().getCode());
    assertEquals(4, asked.size());
    assertEquals(1, sent.size());
  }

  /** Answers in signerd's place, counting in the header. */
  private final class Scribe extends SignerServiceImplBase {
    private <A> void answer(Object question, A answer, StreamObserver<A> to) {
      asked.add(question);
      if (!refusals.isEmpty()) {
        to.onError(refusals.remove().asRuntimeException());
        return;
      }
      to.onNext(answer);
      to.onCompleted();
    }

    @Override
    public void signNoahRequest(SignNoahRequestRequest question, StreamObserver<SignNoahRequestResponse> to) {
      answer(question, SignNoahRequestResponse.newBuilder().putHeaders("X-Signed", "noah " + (asked.size() + 1)).build(), to);
    }

    @Override
    public void computeNobaSignature(ComputeNobaSignatureRequest question, StreamObserver<ComputeNobaSignatureResponse> to) {
      answer(question, ComputeNobaSignatureResponse.newBuilder().putHeaders("X-Signed", "noba " + (asked.size() + 1)).build(), to);
    }

    @Override
    public void getNoonSession(GetNoonSessionRequest question, StreamObserver<GetNoonSessionResponse> to) {
      var n = asked.size() + 1;
      answer(question, GetNoonSessionResponse.newBuilder().putHeaders("X-Signed", "noon " + n).setSessionId(session != null ? session : "session-" + n)
          .setBaseUrl(gateway).build(), to);
    }
  }
}
