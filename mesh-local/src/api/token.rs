//! Service-account tokens: signed, verified, and published as a key set.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::PublicKeyData;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::credentials::{Credentials, CredentialsError};

/// Who issues the tokens; also the audience of the server itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Name and uid of the object a token belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

/// The part of the claims that is Kubernetes' own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    pub(crate) serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// The claims of a token; times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) kubernetes: Bound,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// Signs and verifies tokens with the cluster's key (ES256).
pub(crate) struct TokenSigner {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    key_id: String,
    coordinates: (String, String),
}

impl TokenSigner {
    pub(crate) fn new(credentials: &Credentials) -> Result<Self, CredentialsError> {
        let key = &credentials.token_key;
        let crypto = |e: jsonwebtoken::errors::Error| CredentialsError::Crypto(e.to_string());
        let raw = key.public_key_raw();
        // An uncompressed P-256 point: a tag, then two coordinates of 32 bytes.
        let [4, point @ ..] = raw else {
            return Err(CredentialsError::Crypto("the token key is not an EC key".into()));
        };
        let (x, y) = point.split_at(point.len() / 2);
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.leeway = 10;
        Ok(Self {
            encoding: EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).map_err(crypto)?,
            decoding: DecodingKey::from_ec_pem(key.public_key_pem().as_bytes()).map_err(crypto)?,
            validation,
            key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info())),
            coordinates: (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)),
        })
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, String> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        header.typ = None;
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|e| e.to_string())
    }

    /// Checks signature, issuer and times; not the audience, nor that the objects still exist.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, String> {
        jsonwebtoken::decode(token, &self.decoding, &self.validation)
            .map(|data| data.claims)
            .map_err(|e| e.to_string())
    }

    /// The public key as a JSON Web Key Set.
    pub(crate) fn key_set(&self) -> Value {
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": self.coordinates.0, "y": self.coordinates.1,
        }]})
    }

    /// The OpenID discovery document.
    pub(crate) fn discovery() -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Bound, Claims, Credentials, ISSUER, TokenSigner};

    #[test]
    fn signed_tokens_verify_and_others_do_not() {
        let now = Timestamp::now();
        let signer = |_| TokenSigner::new(&Credentials::open(None, &[], now).unwrap()).unwrap();
        let (ours, other) = (signer(0), signer(1));
        let seconds = now.as_second();
        let claims = |lifetime| Claims {
            aud: vec![ISSUER.to_owned()],
            exp: seconds + lifetime,
            iat: seconds,
            nbf: seconds,
            iss: ISSUER.to_owned(),
            jti: "1".to_owned(),
            kubernetes: Bound { namespace: "a".into(), ..Bound::default() },
            sub: "system:serviceaccount:a:b".to_owned(),
        };
        let token = ours.sign(&claims(600)).unwrap();
        assert_eq!(ours.verify(&token).unwrap(), claims(600));
        assert!(other.verify(&token).is_err());
        assert!(ours.verify(&ours.sign(&claims(-600)).unwrap()).is_err());
        let foreign = Claims { iss: "https://elsewhere".into(), ..claims(600) };
        assert!(ours.verify(&ours.sign(&foreign).unwrap()).is_err());
        for garbage in ["", ".", "a.b.c", &token[..token.len() - 4]] {
            assert!(ours.verify(garbage).is_err(), "{garbage}");
        }
    }
}
