use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

use super::*;

/// Keys are made once: `openssl genrsa 2048`, and a certificate of it that is good for nothing.
const KEY: &str = include_str!("test_key.pem");
const CERTIFICATE: &str = include_str!("test_certificate.pem");

fn url() -> Url {
    "https://login.example/token".parse().unwrap()
}

fn key_file(change: impl FnOnce(&mut Value)) -> SecretString {
    let mut file = json!({
        "type": "service_account", "private_key_id": "k1", "private_key": KEY,
        "client_email": "drover@p.example", "token_uri": url(), "project_id": "p",
    });
    change(&mut file);
    file.to_string().into()
}

/// Header and claims of an assertion whose signature is good.
#[track_caller]
fn verified(assertion: &SecretString, by: &'static dyn VerificationAlgorithm) -> (Value, Value) {
    let (text, signature) = assertion.expose_secret().rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = rsa_key("a key", KEY).unwrap();
    let public = UnparsedPublicKey::new(by, key.public().as_ref().to_vec());
    public.verify(text.as_bytes(), &signature).expect("a good signature");
    let part = |text| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let (header, claims) = text.split_once('.').unwrap();
    (part(header), part(claims))
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_service_account_signs_for_a_user_with_rs256() {
    let key = ServiceAccountKey::parse(&key_file(|_| ())).unwrap();
    let scopes = ["a".to_owned(), "b".to_owned()];
    let assertion = key.assertion("anna@a.example", &scopes, &url()).unwrap();
    let (header, claims) = verified(&assertion, &RSA_PKCS1_2048_8192_SHA256);
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    assert_eq!(claims["iss"], "drover@p.example");
    assert_eq!(claims["sub"], "anna@a.example");
    assert_eq!(claims["scope"], "a b");
    assert_eq!(claims["aud"], "https://login.example/token");
    let (from, until) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(from < seconds() && until > seconds() && until - from <= 3600, "{claims}");
}

#[test]
fn an_application_signs_with_ps256_and_names_its_certificate() {
    let certificate = ClientCertificate::parse(&CERTIFICATE.into(), &KEY.into()).unwrap();
    let assertion = certificate.assertion("app", &url()).unwrap();
    let (header, claims) = verified(&assertion, &RSA_PSS_2048_8192_SHA256);
    // `openssl x509 -outform DER | openssl dgst -sha256 -binary | basenc --base64url`, without `=`.
    let thumbprint = include_str!("test_thumbprint.txt").trim();
    assert_eq!(header, json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint }));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("app"), &json!("app")));
    assert_eq!(claims["aud"], "https://login.example/token");
    assert!(claims["exp"].as_u64().unwrap() - claims["nbf"].as_u64().unwrap() <= 600);
    let again = certificate.assertion("app", &url()).unwrap();
    assert_ne!(claims["jti"], verified(&again, &RSA_PSS_2048_8192_SHA256).1["jti"]);
}

#[test]
fn what_is_no_key_file_is_refused_without_showing_it() {
    let wrong = [
        "sesame".into(),
        format!("{{\"private_key\": \"sesame {KEY}\"").into(),
        key_file(|file| file["type"] = "authorized_user".into()),
        key_file(|file| file["token_uri"] = "http://login.example/token".into()),
        key_file(|file| file["private_key"] = "sesame".into()),
        key_file(|file| file["private_key"] = CERTIFICATE.into()),
    ];
    for text in wrong {
        let error = ServiceAccountKey::parse(&text).err().expect("refused");
        let said = format!("{error} {error:?} {}", error.remedy());
        assert!(!said.contains("sesame") && !said.contains("MII"), "{said}");
    }
}

#[test]
fn a_key_may_be_pkcs1_too() {
    let pkcs1 = include_str!("test_key_pkcs1.pem");
    assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"));
    assert!(rsa_key("a key", pkcs1).is_ok());
}
