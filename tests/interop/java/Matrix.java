import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.jose4j.jwa.AlgorithmConstraints;
import org.jose4j.jwk.HttpsJwks;
import org.jose4j.jwt.consumer.JwtConsumerBuilder;
import org.jose4j.keys.resolvers.HttpsJwksVerificationKeyResolver;

/**
 * Verifies tokens as a service does that uses one of Java's libraries.
 *
 * Usage: java Matrix VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…]
 *
 * Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
 * {"error": "what the library says"}. All tokens of a run share what the library caches.
 */
final class Matrix {
    /** From a token to its sub. */
    private interface Verifier {
        String verify(String token) throws Exception;
    }

    private static Verifier nimbus(String url, String issuer, String audience, String[] algs) throws IOException {
        var expected = Arrays.stream(algs).map(JWSAlgorithm::parse).collect(Collectors.toSet());
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSKeySelector(
            new JWSVerificationKeySelector<>(expected, JWKSourceBuilder.create(URI.create(url).toURL()).build()));
        processor.setJWTClaimsSetVerifier(
            new DefaultJWTClaimsVerifier<>(audience, new JWTClaimsSet.Builder().issuer(issuer).build(), Set.of("exp")));
        return token -> processor.process(token, null).getSubject();
    }

    private static Verifier jose4j(String url, String issuer, String audience, String[] algs) {
        var consumer = new JwtConsumerBuilder()
            .setVerificationKeyResolver(new HttpsJwksVerificationKeyResolver(new HttpsJwks(url)))
            .setJwsAlgorithmConstraints(AlgorithmConstraints.ConstraintType.PERMIT, algs)
            .setExpectedIssuer(issuer)
            .setExpectedAudience(audience)
            .setRequireExpirationTime()
            .build();
        return token -> consumer.processToClaims(token).getSubject();
    }

    public static void main(String[] arguments) throws Exception {
        String url = arguments[1], issuer = arguments[2], audience = arguments[3];
        var algs = arguments[4].split(",");
        var verifier = arguments[0].equals("nimbus")
            ? nimbus(url, issuer, audience, algs)
            : jose4j(url, issuer, audience, algs);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> answer;
            try {
                answer = Map.of("ok", verifier.verify(line));
            } catch (Exception error) {
                answer = Map.of("error", error.getClass().getSimpleName() + ": " + error.getMessage());
            }
            System.out.println(JSONObjectUtils.toJSONString(answer));
        }
    }
}
