import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtException;

/**
 * Verifies tokens with the snippet of a page, which tests compile together with this class.
 *
 * Reads "AUDIENCE TOKEN" lines and prints one line for each, in the same order: the claims as JSON, or
 * "refused: " and why.
 */
final class Main {
    public static void main(String[] arguments) throws IOException {
        var decoders = new HashMap<String, JwtDecoder>();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            var parts = line.split(" ", 2);
            try {
                // The claims of what was decoded are Java's; what the token itself has is their JSON.
                var decoded = decoders.computeIfAbsent(parts[0], Decoder::forAudience).decode(parts[1]);
                var claims = Base64.getUrlDecoder().decode(decoded.getTokenValue().split("\\.")[1]);
                System.out.println(new String(claims, StandardCharsets.UTF_8));
            } catch (JwtException error) {
                System.out.println("refused: " + String.valueOf(error.getMessage()).replace("\n", " "));
            }
        }
    }
}
