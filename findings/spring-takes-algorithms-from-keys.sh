#!/usr/bin/env bash
# spring-security-oauth2-jose 6.5.11 with nimbus-jose-jwt 9.37.4 on OpenJDK 17
#
# Behaviour: a decoder that is built from the issuer ignores id_token_signing_alg_values_supported. It trusts the algorithms
# of the keys that are in the JWK Set when it starts, for as long as it runs. When a key of another algorithm is published
# later, it fetches the key and refuses its tokens, although the discovery document has named the algorithm all the time.
# Expected instead: the discovery document says which algorithms the issuer uses, or the key that kid names does.
#
# Output seen:
#   listed: RS256 ES256
#   RS256 at the start: taken
#   ES256, published later: BadJwtException
#   ES256, after a restart: taken
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
import com.nimbusds.jose.crypto.ECDSASigner;
import com.nimbusds.jose.crypto.RSASSASigner;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.Date;
import java.util.List;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtDecoders;
import org.springframework.security.oauth2.jwt.JwtException;

final class Finding {
    static String issuer;
    static volatile List<JWK> served;

    static String token(JWK key, JWSAlgorithm alg) throws Exception {
        var claims = new JWTClaimsSet.Builder().issuer(issuer).subject("alice")
            .expirationTime(new Date(System.currentTimeMillis() + 600_000)).build();
        var jwt = new SignedJWT(new JWSHeader.Builder(alg).keyID(key.getKeyID()).build(), claims);
        jwt.sign(alg == JWSAlgorithm.ES256 ? new ECDSASigner(key.toECKey()) : new RSASSASigner(key.toRSAKey()));
        return jwt.serialize();
    }

    static String said(JwtDecoder decoder, String token) {
        try {
            decoder.decode(token);
            return "taken";
        } catch (JwtException error) {
            return error.getClass().getSimpleName();
        }
    }

    public static void main(String[] arguments) throws Exception {
        var rsa = new RSAKeyGenerator(2048).keyID("one").algorithm(JWSAlgorithm.RS256).generate();
        var ec = new ECKeyGenerator(Curve.P_256).keyID("two").algorithm(JWSAlgorithm.ES256).generate();
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        issuer = "http://localhost:" + server.getAddress().getPort();
        served = List.of(rsa);
        server.createContext("/", exchange -> {
            var body = exchange.getRequestURI().getPath().endsWith("openid-configuration")
                ? ("{\"issuer\":\"" + issuer + "\",\"jwks_uri\":\"" + issuer + "/jwks\",\"subject_types_supported\":[\"public\"],"
                    + "\"id_token_signing_alg_values_supported\":[\"RS256\",\"ES256\"]}")
                : new JWKSet(served).toString();
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(200, body.length());
            exchange.getResponseBody().write(body.getBytes());
            exchange.close();
        });
        server.start();
        System.out.println("listed: RS256 ES256");
        var decoder = JwtDecoders.fromIssuerLocation(issuer);
        System.out.println("RS256 at the start: " + said(decoder, token(rsa, JWSAlgorithm.RS256)));
        served = List.of(rsa, ec);
        System.out.println("ES256, published later: " + said(decoder, token(ec, JWSAlgorithm.ES256)));
        var restarted = JwtDecoders.fromIssuerLocation(issuer);
        System.out.println("ES256, after a restart: " + said(restarted, token(ec, JWSAlgorithm.ES256)));
        server.stop(0);
    }
}
JAVA
java -cp 'lib/*' Finding.java 2>java.log | tee seen
printf '%s\n' 'listed: RS256 ES256' 'RS256 at the start: taken' 'ES256, published later: BadJwtException' \
  'ES256, after a restart: taken' | diff - seen
