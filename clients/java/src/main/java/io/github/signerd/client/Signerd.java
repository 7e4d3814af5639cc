package io.github.signerd.client;

import com.google.protobuf.ByteString;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import signerd.v1.Signer.ComputeNobaSignatureRequest;
import signerd.v1.Signer.GetNoonSessionRequest;
import signerd.v1.Signer.GetNoonSessionResponse;
import signerd.v1.Signer.SignNoahRequestRequest;
import signerd.v1.SignerServiceGrpc;
import signerd.v1.SignerServiceGrpc.SignerServiceBlockingStub;

/**
 * Sends requests to partners with headers that signerd makes for exactly the bytes that go out. Each attempt has headers of its own, and
 * redirects are given back instead of followed, since no signature fits two targets. Safe for concurrent use; one is enough for a program.
 *
 * <p>A request for another scheme, host or port than the partner's base URL is an IllegalArgumentException, and so is a base URL that is
 * neither https:// nor on a loopback host.
 *
 * <p>Methods throw {@link io.grpc.StatusRuntimeException} when signerd refuses or cannot be reached, and IOException when the partner cannot.
 */
public final class Signerd implements AutoCloseable {
  private static final long DEADLINE_SECONDS = 10; // for one question to signerd, with its retries
  private static final Duration PARTNER = Duration.ofSeconds(60); // for an answer of a partner, unless the request has a timeout

  private static final Map<String, ?> RETRIES = Map.of("methodConfig", List.of(Map.of(
      "name", List.of(Map.of("service", SignerServiceGrpc.SERVICE_NAME)),
      "retryPolicy", Map.of("maxAttempts", 4.0, "initialBackoff", "0.1s", "maxBackoff", "1s", "backoffMultiplier", 2.0,
          "retryableStatusCodes", List.of("UNAVAILABLE")))));

  private final ManagedChannel channel;
  private final SignerServiceBlockingStub stub;
  private final HttpClient http = HttpClient.newBuilder()
      .followRedirects(HttpClient.Redirect.NEVER).version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(10)).build();

  /** Uses a channel of the caller's making, adding the retries. */
  public Signerd(ManagedChannelBuilder<?> builder) {
    channel = builder.defaultServiceConfig(RETRIES).build();
    stub = SignerServiceGrpc.newBlockingStub(channel);
  }

  /** Uses the signerd at {@code unix:///path/to.sock}. It connects at the first request. */
  public static Signerd connect(String address) {
    if (!address.startsWith("unix:")) {
      throw new IllegalArgumentException("a signerd at host:port needs mutual TLS");
    }
    return new Signerd(Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()));
  }

  /** Uses the signerd at {@code host:port}: its authority, and the certificate and PKCS #8 key that this program shows, all PEM. */
  public static Signerd connect(String address, File ca, File certificate, File key) throws IOException {
    var credentials = TlsChannelCredentials.newBuilder().trustManager(ca).keyManager(certificate, key).build();
    return new Signerd(Grpc.newChannelBuilder(address, credentials).keepAliveTime(1, TimeUnit.MINUTES)); // signerd allows 30 s and more
  }

  /** Sends a request to NOAH, at a base URL, signed with a key. Method and body are these, whatever the builder has; an empty body is none. */
  public HttpResponse<byte[]> noah(String key, String base, String method, HttpRequest.Builder builder, byte[] body)
      throws IOException, InterruptedException {
    var request = request(method, builder, body);
    confine(request.uri(), base);
    var question = SignNoahRequestRequest.newBuilder()
        .setKey(key).setMethod(method).setPath(target(request.uri())).setBody(ByteString.copyFrom(body)).build();
    return send(request, signer().signNoahRequest(question).getHeadersMap());
  }

  /** Sends a request to Noba, at a base URL, signed with a key. The body is empty, or JSON as {@code JSON.stringify} writes it. */
  public HttpResponse<byte[]> noba(String key, String base, String method, HttpRequest.Builder builder, byte[] body)
      throws IOException, InterruptedException {
    var request = request(method, builder, body);
    confine(request.uri(), base);
    var question = ComputeNobaSignatureRequest.newBuilder()
        .setKey(key).setMethod(method).setPath(target(request.uri())).setBody(ByteString.copyFrom(body)).build();
    return send(request, signer().computeNobaSignature(question).getHeadersMap());
  }

  /** Sends a request to Noon with a key's session; when Noon answers 401, once more if another follows the rejected one. */
  public HttpResponse<byte[]> noon(String key, String method, HttpRequest.Builder builder, byte[] body)
      throws IOException, InterruptedException {
    var request = request(method, builder, body);
    var session = session(key, "", request.uri());
    var answer = send(request, session.getHeadersMap());
    if (answer.statusCode() != 401) {
      return answer;
    }
    var next = session(key, session.getSessionId(), request.uri());
    if (next.getSessionId().equals(session.getSessionId())) {
      return answer; // signerd has asked Noon, which accepts it: the 401 has another cause
    }
    return send(request, next.getHeadersMap());
  }

  private GetNoonSessionResponse session(String key, String rejected, URI target) {
    var session = signer().getNoonSession(GetNoonSessionRequest.newBuilder().setKey(key).setRejectedSessionId(rejected).build());
    confine(target, session.getBaseUrl());
    return session;
  }

  private SignerServiceBlockingStub signer() {
    return stub.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS);
  }

  private HttpResponse<byte[]> send(HttpRequest request, Map<String, String> headers) throws IOException, InterruptedException {
    var signed = HttpRequest.newBuilder(request, (name, value) -> true);
    headers.forEach(signed::setHeader);
    signed.timeout(request.timeout().orElse(PARTNER));
    return http.send(signed.build(), BodyHandlers.ofByteArray());
  }

  private static HttpRequest request(String method, HttpRequest.Builder builder, byte[] body) {
    return builder.copy().method(method, body.length == 0 ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(body)).build();
  }

  /** The path and query as HttpClient puts them on the wire. */
  static String target(URI uri) {
    if (!uri.toString().equals(uri.toASCIIString())) {
      throw new IllegalArgumentException("the address has letters outside ASCII: percent-encode them");
    }
    var path = uri.getRawPath().isEmpty() ? "/" : uri.getRawPath();
    return uri.getRawQuery() == null || uri.getRawQuery().isEmpty() ? path : path + "?" + uri.getRawQuery();
  }

  /** Refuses a target elsewhere than at the base URL, and a base URL where others could read the headers on the way. */
  static void confine(URI target, String base) {
    var allowed = URI.create(base);
    if (allowed.getHost() == null || !origin(allowed).matches("https://.*|http://(localhost|127(\\.\\d+){3}|\\[::1]):\\d+")) {
      throw new IllegalArgumentException("the base URL is not https://, nor http:// and a loopback host");
    }
    if (!origin(target).equals(origin(allowed))) {
      throw new IllegalArgumentException("the request is for another scheme, host or port than the base URL");
    }
  }

  private static String origin(URI uri) {
    var port = uri.getPort() >= 0 ? uri.getPort() : "https".equalsIgnoreCase(uri.getScheme()) ? 443 : 80;
    return (uri.getScheme() + "://" + uri.getHost() + ":" + port).toLowerCase(java.util.Locale.ROOT);
  }

  @Override
  public void close() {
    channel.shutdown();
  }
}
