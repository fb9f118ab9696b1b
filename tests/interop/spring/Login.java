import org.springframework.security.oauth2.client.registration.ClientRegistrations;

/**
 * Sets up a login by an issuer, as Spring Security does for spring.security.oauth2.client.provider.NAME.issuer-uri.
 *
 * Usage: java Login ISSUER
 *
 * Prints where people log in and where the code is exchanged, or "refused: " and why.
 */
final class Login {
    public static void main(String[] arguments) {
        try {
            var found = ClientRegistrations.fromIssuerLocation(arguments[0]).clientId("client").build();
            var provider = found.getProviderDetails();
            System.out.println(provider.getAuthorizationUri() + " " + provider.getTokenUri());
        } catch (RuntimeException error) {
            System.out.println("refused: " + error);
        }
    }
}
