import io.smallrye.jwt.algorithm.SignatureAlgorithm;
import io.smallrye.jwt.auth.principal.DefaultJWTParser;
import io.smallrye.jwt.auth.principal.JWTAuthContextInfo;
import io.smallrye.jwt.auth.principal.JWTParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jose4j.json.JsonUtil;

/**
 * Verifies tokens as a service does that uses SmallRye JWT, which is in Quarkus, WildFly and Open Liberty.
 *
 * Usage: java Matrix VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…]
 *
 * Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
 * {"error": "what the library says"}. It is told the algorithms that it knows of those that are expected; where ALG
 * is empty, none.
 */
final class Matrix {
    private static JWTParser parser(String[] arguments) {
        var settings = new JWTAuthContextInfo(arguments[1], arguments[2]);
        settings.setExpectedAudience(Set.of(arguments[3]));
        var known = Stream.of(SignatureAlgorithm.values())
            .filter(each -> List.of(arguments[4].split(",")).contains(each.getAlgorithm()))
            .collect(Collectors.toSet());
        if (!known.isEmpty()) {
            settings.setSignatureAlgorithm(known);
        }
        return new DefaultJWTParser(settings);
    }

    private static String first(Throwable error) {
        return error.getCause() == null ? error.getMessage() : error.getMessage() + ": " + first(error.getCause());
    }

    public static void main(String[] arguments) throws IOException {
        JWTParser parser = null;
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> answer;
            try {
                parser = parser == null ? parser(arguments) : parser;
                answer = Map.of("ok", parser.parse(line).getSubject());
            } catch (Exception error) {
                answer = Map.of("error", error.getClass().getSimpleName() + ": " + first(error));
            }
            System.out.println(JsonUtil.toJson(answer));
        }
    }
}
