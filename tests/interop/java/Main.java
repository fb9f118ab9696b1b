import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.MalformedURLException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;

/**
 * Verifies tokens with the snippet of a page, which tests compile together with this class.
 *
 * Reads "AUDIENCE TOKEN" lines and prints one line for each, in the same order: the claims as JSON, or
 * "refused: " and why.
 */
final class Main {
    public static void main(String[] arguments) throws IOException {
        var verifiers = new HashMap<String, Verifier>();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            var parts = line.split(" ", 2);
            try {
                if (!verifiers.containsKey(parts[0])) {
                    verifiers.put(parts[0], new Verifier(parts[0]));
                }
                System.out.println(verifiers.get(parts[0]).verify(parts[1]));
            } catch (MalformedURLException error) {
                throw error;
            } catch (Exception error) {
                System.out.println("refused: " + String.valueOf(error.getMessage()).replace("\n", " "));
            }
        }
    }
}
