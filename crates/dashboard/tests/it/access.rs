use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tinyclaw_dashboard::{AccessConfig, KeySource};

use crate::client::ask;
use crate::running::Running;

/// A key that signs nothing but these tests' tokens, and its modulus as a JWK has it.
const KEY: &str = "MIIEpAIBAAKCAQEAu6A34t5Hiu6g2X5j9ylCtoAPFKd1GYhgy71rVvfGYVWTfPJDO3euH6AD4n1LstR+deTCcqZBxv+lHqrg\
     TbfhZ1zgq1aVHhKwp4hKe5HpyfYiMmlHsMxz/g9rWlEsZuvkTxdXHZD9Da52XlrGO+mXrnebBJMLxlnUIuAd0PSydKM9sV7x\
     FUNmGwQRVyFWExemD8BVe62Ff9axhHp4rskT1Nh2cq+5ASbLcBl1gCGqRai1im8Fyh0yomdFybxIt4k18ZyFFmNeOcbx7MtN\
     83wRxjPinggoNAr5EEYD4m49gei9LbFyN4uVuZdc7IQdwPIMFTPW5KF+D8GM25u3bqhsfQIDAQABAoIBADJqCwo1EsEkfGjk\
     WqT7W7cg8qxokIDjUar9Ax4TpqTZsy8UA3ezoUBTJSgS5aewDCjOZmcbADqhz3LNlEadvX2iCaZQNfImMHxblTPd0ZVYQvkL\
     q904GoSuDPjwLb+b67VKvrgtkKk/8wNIXdKUYhLZhXg1sKjD00npsWlHjrni+hcaJUfouf+Pxe0qN2hxustVRAOhdpydaHTJ\
     QABDtEAchYciGRlwSFfqd5EX88gYQZYs6c5Ae2Vh0IHfglRNboiUCMlyPUnsAm/oxCaDzFSUgZLwv73YKdoJNjiw9csf8nCZ\
     wSobKc+vABbI22SmEClfUMdoOhMEefNixgi5ABsCgYEA+477B8sv3VyFG9bqXViqHY8w3tPWgrxF3D3W+dPVaGstPl46rs3C\
     jzKiOnRRm8lRw0JxB0PfwBH4gb5ZMFHh6IlOl1TEuFy5/HXDaLvmdixZl0090ZTdsUgMAgPKS06M5GeM7MftJsIWvbLw7Qv6\
     P/H6cMmt5O+EJWi0cK4vw18CgYEAvvBEuPkLJ5IQp7JLcl6MVb5DsD2XlGaKEJgEZifaUNbBTLa7PRMXN95gxTI2qjKEYY2V\
     bO2Gilthw3XS7h/cqGQSrsPhQ1jXXjWo1yIkZgCqQJ+7b0a1q1yiAW9aNimmw/DfhZrvqd4+/siiESGSYOi9YFZ/XOwSJ7mp\
     drCNWaMCgYEA7BQDAg1tnhB12uqWh4PuIk9/TZ8AcTC/XzGpzks+u//ZNe64o9P2Au1B0hnXfJwyX0y7RlYsZdR3o0s/6Fjv\
     6YrydpLXCy36XTMnb+LnJX/5lESo/0b1xqoWms1zy7isAK4tUwlNRlJfhSepcs0KzXgJ0E91IqSlH3Zj4FuX94ECgYACNtcV\
     Lg4rD06SI0cstFv8QpCWYqB3YBkJyDmE1cF6XoMvWI8jTi1ewH1uy/5GSv+uAe5RrQ96W0Tu91bS3Bu6+C4fSLY8CbO1q/mh\
     RQwXArr2tON/jtpcel6Glbv+FM2SSCDPc9SDq8gfPERk3nbMGObZTyd69GHhhA2rCrEY8QKBgQCHsh6PmJ/2DPcotBp6eAmi\
     Y9MjgjhzRFcK57z0g1kG3mWmixOAl6HQro+VIifhpbEz8EijCJt8REsfxmp0Dyg+BWHBHZfTowsWTFMo2Sv26SZtGDUIj3G4\
     cvFvGHni1FDShFF9tRQq/Rif1iersuMxvODnXP8+4TOwgtDe/+HRUw==";
const MODULUS: &str = "u6A34t5Hiu6g2X5j9ylCtoAPFKd1GYhgy71rVvfGYVWTfPJDO3euH6AD4n1LstR-deTCcqZBxv-lHqrgTbfhZ1zgq1aVHhKw\
     p4hKe5HpyfYiMmlHsMxz_g9rWlEsZuvkTxdXHZD9Da52XlrGO-mXrnebBJMLxlnUIuAd0PSydKM9sV7xFUNmGwQRVyFWExem\
     D8BVe62Ff9axhHp4rskT1Nh2cq-5ASbLcBl1gCGqRai1im8Fyh0yomdFybxIt4k18ZyFFmNeOcbx7MtN83wRxjPinggoNAr5\
     EEYD4m49gei9LbFyN4uVuZdc7IQdwPIMFTPW5KF-D8GM25u3bqhsfQ";

fn key() -> EncodingKey {
    EncodingKey::from_rsa_der(&base64(KEY))
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut sum) = (0, 0u32);
    for it in text.bytes().filter_map(|it| LETTERS.iter().position(|letter| *letter == it)) {
        sum = sum << 6 | it as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((sum >> bits) as u8);
        }
    }
    bytes
}

fn keys(kid: &str) -> String {
    json!({"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid, "n": MODULUS, "e": "AQAB"}]}).to_string()
}

fn token(change: impl FnOnce(&mut serde_json::Value), header: Header) -> String {
    let now = tinyclaw_service::now_ms() / 1000;
    let mut claims = json!({"aud": ["office"], "iss": "https://ada.cloudflareaccess.com", "exp": now + 600, "nbf": now - 5, "email": "x"});
    change(&mut claims);
    encode(&header, &claims, &key()).unwrap()
}

fn header(kid: &str) -> Header {
    Header { kid: Some(kid.into()), ..Header::new(Algorithm::RS256) }
}

#[test]
fn only_a_good_token_of_the_team_opens_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    std::fs::write(&file, keys("one")).unwrap();
    let server = Running::with_access(dir.path(), Some(access(KeySource::File(file.clone()))));
    let own = format!("127.0.0.1:{}", server.address.port());
    let status = |token: Option<&str>| {
        let mut headers = vec![("Host", own.as_str())];
        headers.extend(token.map(|it| ("Cf-Access-Jwt-Assertion", it)));
        ask(server.address, "GET", "/api/status", &headers).status
    };
    let good = token(|_| {}, header("one"));
    assert_eq!(status(Some(&good)), 200);
    assert_eq!(status(None), 403);
    assert_eq!(status(Some("")), 403);
    assert_eq!(status(Some(&good[..good.len() - 8])), 403, "the signature counts");
    let now = tinyclaw_service::now_ms() / 1000;
    for wrong in [
        token(|it| it["aud"] = json!(["kitchen"]), header("one")),
        token(|it| it["iss"] = json!("https://bob.cloudflareaccess.com"), header("one")),
        token(|it| it["exp"] = json!(now - 600), header("one")),
        token(|it| it["nbf"] = json!(now + 600), header("one")),
        token(|it| drop(it.as_object_mut().unwrap().remove("exp")), header("one")),
        token(|it| drop(it.as_object_mut().unwrap().remove("aud")), header("one")),
        token(|_| {}, Header::new(Algorithm::RS256)),
    ] {
        assert_eq!(status(Some(&wrong)), 403, "{wrong}");
    }
    // A secret made of the public key must not be taken for a signature, nor must no signature.
    let mut confused = header("one");
    confused.alg = Algorithm::HS256;
    let claims =
        json!({"aud": ["office"], "iss": "https://ada.cloudflareaccess.com", "exp": now + 600});
    let confused =
        encode(&confused, &claims, &EncodingKey::from_secret(MODULUS.as_bytes())).unwrap();
    assert_eq!(status(Some(&confused)), 403);
    let unsigned =
        format!("eyJhbGciOiJub25lIiwia2lkIjoib25lIn0.{}.", good.split('.').nth(1).unwrap());
    assert_eq!(status(Some(&unsigned)), 403);
    // The keys were read a moment ago: an unknown one is not looked up again at once.
    std::fs::write(&file, keys("two")).unwrap();
    assert_eq!(status(Some(&token(|_| {}, header("two")))), 403);
    assert_eq!(status(Some(&good)), 200);
}

#[test]
fn keys_that_cannot_be_had_close_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = KeySource::File(dir.path().join("missing.json"));
    let server = Running::with_access(dir.path(), Some(access(nowhere)));
    let own = format!("127.0.0.1:{}", server.address.port());
    let good = token(|_| {}, header("one"));
    let headers = [("Host", own.as_str()), ("Cf-Access-Jwt-Assertion", good.as_str())];
    let answer = ask(server.address, "GET", "/", &headers);
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("cannot be had"), "{}", answer.body);
}

#[test]
fn keys_come_from_a_url_too() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/certs", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut question = [0; 1024];
        let read = stream.read(&mut question).unwrap();
        assert!(question[..read].starts_with(b"GET /certs HTTP/1.0\r\n"));
        write!(stream, "HTTP/1.1 200 OK\r\n\r\n{}", keys("one")).unwrap();
    });
    let dir = tempfile::tempdir().unwrap();
    let server = Running::with_access(dir.path(), Some(access(KeySource::Url(url))));
    let own = format!("127.0.0.1:{}", server.address.port());
    let good = token(|_| {}, header("one"));
    let headers = [("Host", own.as_str()), ("Cf-Access-Jwt-Assertion", good.as_str())];
    assert_eq!(ask(server.address, "GET", "/", &headers).status, 200);
    serving.join().unwrap();
}

fn access(keys: KeySource) -> AccessConfig {
    AccessConfig { team: "ada".into(), audience: "office".into(), keys: Some(keys) }
}
