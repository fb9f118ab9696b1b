import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.text.ParseException;
import java.util.Map;

/**
 * Verifies tokens by JWK Sets that may be broken, each with a source of its own.
 *
 * Reads JSON lines {"jwks_uri", "token"} and prints a JSON line for each, in the same order: {"nimbus": "…"}, empty
 * where the token was accepted, else why it was not.
 */
final class Lint {
    /** What a busy machine may need; the library gives up after half a second by itself. */
    private static final int PATIENCE = 20_000;

    private static String why(String url, String token) {
        try {
            var retriever = new DefaultResourceRetriever(PATIENCE, PATIENCE, JWKSourceBuilder.DEFAULT_HTTP_SIZE_LIMIT);
            var source = JWKSourceBuilder.create(URI.create(url).toURL(), retriever).build();
            var processor = new DefaultJWTProcessor<SecurityContext>();
            processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.Family.SIGNATURE, source));
            processor.process(token, null);
            return "";
        } catch (Exception error) {
            return error.getClass().getSimpleName() + ": " + error.getMessage();
        }
    }

    public static void main(String[] arguments) throws IOException, ParseException {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            var question = JSONObjectUtils.parse(line);
            var answer = why((String) question.get("jwks_uri"), (String) question.get("token"));
            System.out.println(JSONObjectUtils.toJSONString(Map.of("nimbus", answer)));
        }
    }
}
