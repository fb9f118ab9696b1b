import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import org.keycloak.broker.oidc.OIDCIdentityProviderConfig;
import org.keycloak.broker.oidc.OIDCIdentityProviderFactory;
import org.keycloak.common.enums.SslRequired;
import org.keycloak.models.IdentityProviderModel;
import org.keycloak.models.RealmModel;

/**
 * Imports a discovery document, as Keycloak does for "Import config from URL" of an identity provider.
 *
 * Usage: java Import <openid-configuration
 *
 * Prints the URL of the JWK Set, or "refused: " and why. Of the realm it asks one thing, which is as in a new one.
 */
final class Import {
    public static void main(String[] arguments) throws IOException {
        var document = new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
        var realm = (RealmModel) Proxy.newProxyInstance(
            Import.class.getClassLoader(),
            new Class<?>[] {RealmModel.class},
            (proxy, method, values) -> method.getName().equals("getSslRequired") ? SslRequired.EXTERNAL : null);
        try {
            var model = new IdentityProviderModel();
            model.setConfig(new OIDCIdentityProviderFactory().parseConfig(null, document));
            var provider = new OIDCIdentityProviderConfig(model);
            provider.validate(realm);
            System.out.println(provider.getJwksUrl());
        } catch (IllegalArgumentException error) {
            System.out.println("refused: " + error.getMessage());
        }
    }
}
