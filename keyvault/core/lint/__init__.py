"""What breaks verifiers: rules about JWK Sets, discovery documents and how a host sends them."""
