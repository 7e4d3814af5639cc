package io.github.signerd.client;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.File;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpRequest;
import java.time.Duration;

/** Sends one request to each partner, signed by signerd, and prints what the partner answers. */
public final class Example {
  private Example() {}

  public static void main(String[] args) throws Exception {
    var out = new PrintStream(System.out, true, UTF_8);
    var accepted = true;
    try (var signerd = connect(variable("SIGNERD_ADDRESS"))) {
      for (var partner : System.getenv().getOrDefault("PARTNERS", "noah,noba,noon").split(",")) {
        var answer = switch (partner) {
          case "noah" -> signerd.noah(variable("NOAH_KEY"), variable("NOAH_URL"), "POST",
              json(variable("NOAH_URL") + "/v1/checkout/payin/fiat?Note=caf%C3%A9%20au+lait&PageSize=20"),
              "{\"CustomerID\":\"c-1\",\"FiatAmount\":\"10.50\",\"Name\":\"Zo\u00eb\"}".getBytes(UTF_8));
          case "noba" -> signerd.noba(variable("NOBA_KEY"), variable("NOBA_URL"), "POST",
              json(variable("NOBA_URL") + "/v1/transactions?dry=1"),
              "{\"amount\":\"100\",\"note\":\"Zo\u00eb\"}".getBytes(UTF_8));
          case "noon" -> signerd.noon(variable("NOON_KEY"), "GET",
              to(variable("NOON_URL") + "/identity/v1/whoami"), new byte[0]);
          default -> throw new IllegalArgumentException("PARTNERS: " + partner + " is none of noah, noba, noon");
        };
        out.println(partner + " " + answer.statusCode() + " " + new String(answer.body(), UTF_8).stripTrailing());
        accepted &= answer.statusCode() == 200;
      }
    }
    System.exit(accepted ? 0 : 1);
  }

  private static Signerd connect(String address) throws Exception {
    return address.startsWith("unix:") ? Signerd.connect(address)
        : Signerd.connect(address, new File(variable("SIGNERD_TLS_CA")), new File(variable("SIGNERD_TLS_CERT")),
            new File(variable("SIGNERD_TLS_KEY")));
  }

  private static HttpRequest.Builder to(String address) {
    return HttpRequest.newBuilder(URI.create(address)).timeout(Duration.ofSeconds(30));
  }

  private static HttpRequest.Builder json(String address) {
    return to(address).header("Content-Type", "application/json");
  }

  private static String variable(String name) {
    var value = System.getenv(name);
    if (value == null) {
      throw new IllegalStateException(name + " is not set");
    }
    return value;
  }
}
