import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.springframework.security.oauth2.core.DelegatingOAuth2TokenValidator;
import org.springframework.security.oauth2.core.OAuth2TokenValidator;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.Jwt;
import org.springframework.security.oauth2.jwt.JwtClaimNames;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;

/**
 * Verifies tokens as a resource server does that uses Spring Security.
 *
 * Usage: java Matrix VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…]
 *
 * Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
 * {"error": "what it says"}. It finds the JWK Set and the algorithms by the issuer, or is told the URL and the
 * algorithms that it knows of those that are expected; where ALG is empty, none.
 */
final class Matrix {
    private static NimbusJwtDecoder byIssuer(String issuer) {
        return NimbusJwtDecoder.withIssuerLocation(issuer).build();
    }

    private static NimbusJwtDecoder bySet(String url, String algs) {
        var builder = NimbusJwtDecoder.withJwkSetUri(url);
        var known = Arrays.stream(algs.split(",")).map(SignatureAlgorithm::from).filter(Objects::nonNull).toList();
        builder.jwsAlgorithms(expected -> expected.addAll(known));
        return builder.build();
    }

    private static NimbusJwtDecoder decoder(String[] arguments) {
        var decoder = arguments[0].equals("spring") ? byIssuer(arguments[2]) : bySet(arguments[1], arguments[4]);
        OAuth2TokenValidator<Jwt> audience =
            new JwtClaimValidator<List<String>>(JwtClaimNames.AUD, found -> found.contains(arguments[3]));
        decoder.setJwtValidator(
            new DelegatingOAuth2TokenValidator<>(JwtValidators.createDefaultWithIssuer(arguments[2]), audience));
        return decoder;
    }

    private static String first(Throwable error) {
        return error.getCause() == null ? error.getMessage() : error.getMessage() + ": " + first(error.getCause());
    }

    public static void main(String[] arguments) throws IOException {
        var json = new ObjectMapper();
        NimbusJwtDecoder decoder = null;
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, String> answer;
            try {
                decoder = decoder == null ? decoder(arguments) : decoder;
                answer = Map.of("ok", decoder.decode(line).getSubject());
            } catch (RuntimeException error) {
                answer = Map.of("error", error.getClass().getSimpleName() + ": " + first(error));
            }
            System.out.println(json.writeValueAsString(answer));
        }
    }
}
