#!/usr/bin/env bash
# spring-security-oauth2-jose 6.5.11 with spring-web 6.2.19 on OpenJDK 17
#
# Behaviour: if both documents are sent as application/octet-stream, Spring reads the JWK Set, but cannot start from the
# discovery document. It ignores the Content-Type of the JWK Set, but needs a converter for that of the discovery
# document. Hosts that choose the type by extension, such as GitHub Pages, send both documents with that type:
# openid-configuration has no extension, and the path of the JWK Set may have none.
# Expected instead: the type matters for both, or for neither.
#
# Output seen:
#   application/json, by JWK Set: taken
#   application/json, by issuer: taken
#   application/octet-stream, by JWK Set: taken
#   application/octet-stream, by issuer: does not start
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >pom.xml <<'XML'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId>
  <artifactId>finding</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.springframework.security</groupId>
      <artifactId>spring-security-oauth2-jose</artifactId>
      <version>6.5.11</version>
    </dependency>
    <dependency>
      <groupId>org.springframework</groupId>
      <artifactId>spring-web</artifactId>
      <version>6.2.19</version>
    </dependency>
    <dependency>
      <groupId>com.fasterxml.jackson.core</groupId>
      <artifactId>jackson-databind</artifactId>
      <version>2.19.4</version>
    </dependency>
  </dependencies>
</project>
XML
mvn --batch-mode --quiet dependency:copy-dependencies -DoutputDirectory=lib >mvn.log
cat >Finding.java <<'JAVA'
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSHeader;
import com.nimbusds.jose.crypto.RSASSASigner;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.Date;
import java.util.function.Supplier;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtDecoders;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;

final class Finding {
    static volatile String type;

    static String said(Supplier<JwtDecoder> maker, String token) {
        JwtDecoder decoder;
        try {
            decoder = maker.get();
        } catch (IllegalArgumentException error) {
            return "does not start";
        }
        return decoder.decode(token).getSubject().equals("alice") ? "taken" : "another subject";
    }

    public static void main(String[] arguments) throws Exception {
        var key = new RSAKeyGenerator(2048).keyID("one").algorithm(JWSAlgorithm.RS256).generate();
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        var issuer = "http://localhost:" + server.getAddress().getPort();
        var configuration = "{\"issuer\":\"" + issuer + "\",\"jwks_uri\":\"" + issuer
            + "/jwks\",\"subject_types_supported\":[\"public\"]}";
        var set = new JWKSet(key).toString();
        server.createContext("/", exchange -> {
            var body = exchange.getRequestURI().getPath().endsWith("openid-configuration") ? configuration : set;
            exchange.getResponseHeaders().set("Content-Type", type);
            exchange.sendResponseHeaders(200, body.length());
            exchange.getResponseBody().write(body.getBytes());
            exchange.close();
        });
        server.start();
        var claims = new JWTClaimsSet.Builder().issuer(issuer).subject("alice")
            .expirationTime(new Date(System.currentTimeMillis() + 600_000)).build();
        var jwt = new SignedJWT(new JWSHeader.Builder(JWSAlgorithm.RS256).keyID("one").build(), claims);
        jwt.sign(new RSASSASigner(key));
        for (var sent : new String[] {"application/json", "application/octet-stream"}) {
            type = sent;
            Supplier<JwtDecoder> bySet = () -> NimbusJwtDecoder.withJwkSetUri(issuer + "/jwks").build();
            System.out.println(sent + ", by JWK Set: " + said(bySet, jwt.serialize()));
            System.out.println(sent + ", by issuer: " + said(() -> JwtDecoders.fromIssuerLocation(issuer), jwt.serialize()));
        }
        server.stop(0);
    }
}
JAVA
java -cp 'lib/*' Finding.java 2>java.log | tee seen
printf '%s\n' 'application/json, by JWK Set: taken' 'application/json, by issuer: taken' \
  'application/octet-stream, by JWK Set: taken' 'application/octet-stream, by issuer: does not start' | diff - seen
