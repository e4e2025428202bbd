//! The App's private key: read from its file, checked, and kept where it is wiped.
//!
//! PKCS#1 ("RSA PRIVATE KEY", what GitHub hands out) and PKCS#8 ("PRIVATE KEY") are taken. What
//! cannot work is refused with its own message, because each mistake has its own way out. Every
//! buffer the key passes through is zeroized; the PEM is decoded here, and not by a library,
//! because those leave copies behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey};
use zeroize::Zeroizing;

/// A 4096-bit key is 3.3 KB of PEM.
const PEM_BYTES_MAX: u64 = 64 * 1024;
/// GitHub's keys have 2048; less can be broken.
const BITS_MIN: usize = 2048;

const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// The key, able to sign.
#[derive(Debug)]
pub struct AppKey {
    key: EncodingKey,
    bits: usize,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing there.
    #[error("{} is missing: download a private key on the App's settings page and put it there", .0.display())]
    Missing(PathBuf),
    /// Docker makes a folder where a file to mount is missing.
    #[error("{} is a directory: Docker makes one when the file to mount is missing; remove it, put the key there, start again", .0.display())]
    Directory(PathBuf),
    /// Not a file at all.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Others could read it.
    #[error("{} can be read or changed by group or others (mode {mode:04o}): run chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// We cannot read it.
    #[error("cannot read {}: {source}; it must belong to the user the broker runs as", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing in it.
    #[error("{} is empty: download the private key again", .0.display())]
    Empty(PathBuf),
    /// Too much in it.
    #[error("{} has more than 64 KiB: that is no key", .0.display())]
    TooLarge(PathBuf),
    /// Not PEM.
    #[error("{} is not PEM: it does not begin with -----BEGIN", .0.display())]
    NotPem(PathBuf),
    /// PEM without its end, or with something else inside.
    #[error("{} is cut off or damaged: download the private key again", .0.display())]
    Damaged(PathBuf),
    /// It needs a passphrase.
    #[error("{} is encrypted: the broker has no passphrase; run openssl rsa -in KEY -out NEW", .0.display())]
    Encrypted(PathBuf),
    /// An elliptic curve.
    #[error("{} is an EC key: GitHub Apps sign with RSA; use the key GitHub made for the App", .0.display())]
    Ec(PathBuf),
    /// Ed25519 and whatever else.
    #[error("{} is not an RSA key: use the key GitHub made for the App", .0.display())]
    OtherAlgorithm(PathBuf),
    /// SSH's own format.
    #[error("{} is an OpenSSH key: use the key GitHub made for the App", .0.display())]
    OpenSsh(PathBuf),
    /// A public key or a certificate.
    #[error("{} holds {label:?}, not a private key", path.display())]
    NotPrivate {
        /// Which file.
        path: PathBuf,
        /// What stands after BEGIN.
        label: String,
    },
    /// Too few bits.
    #[error("{} has {bits} bits: 2048 are the least", path.display())]
    Weak {
        /// Which file.
        path: PathBuf,
        /// How many.
        bits: usize,
    },
}

impl AppKey {
    /// Reads and checks the key.
    pub fn read(path: &Path) -> Result<AppKey, KeyError> {
        let at = || path.to_owned();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing(at()),
            _ => KeyError::Read { path: at(), source },
        };
        let mut file = File::open(path).map_err(failed)?;
        // Asked of the open file, so that nobody can swap it between the question and the reading.
        let about = file.metadata().map_err(failed)?;
        if about.is_dir() {
            return Err(KeyError::Directory(at()));
        }
        if !about.is_file() {
            return Err(KeyError::NotAFile(at()));
        }
        let mode = about.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::TooOpen { path: at(), mode });
        }
        if about.len() > PEM_BYTES_MAX {
            return Err(KeyError::TooLarge(at()));
        }
        // One buffer, large enough from the start: growing would leave a copy behind.
        let mut pem = Zeroizing::new(vec![0; about.len() as usize]);
        file.read_exact(&mut pem).map_err(failed)?;
        AppKey::parse(&pem, path)
    }

    /// The same from bytes; the path is for the messages.
    pub fn parse(pem: &[u8], path: &Path) -> Result<AppKey, KeyError> {
        let at = || path.to_owned();
        if pem.iter().all(u8::is_ascii_whitespace) {
            return Err(KeyError::Empty(at()));
        }
        let (label, body) = armour(pem).ok_or_else(|| {
            let begun = find(pem, b"-----BEGIN ").is_some();
            if begun { KeyError::Damaged(at()) } else { KeyError::NotPem(at()) }
        })?;
        let pkcs8 = match label {
            b"RSA PRIVATE KEY" if find(body, b"ENCRYPTED").is_some() => {
                return Err(KeyError::Encrypted(at()));
            }
            b"RSA PRIVATE KEY" => false,
            b"PRIVATE KEY" => true,
            b"ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted(at())),
            b"EC PRIVATE KEY" | b"EC PARAMETERS" => return Err(KeyError::Ec(at())),
            b"OPENSSH PRIVATE KEY" => return Err(KeyError::OpenSsh(at())),
            _ => {
                let label = String::from_utf8_lossy(&label[..label.len().min(40)]).into_owned();
                return Err(KeyError::NotPrivate { path: at(), label });
            }
        };
        let damaged = || KeyError::Damaged(at());
        let der = decode_base64(body).ok_or_else(damaged)?;
        let der = if pkcs8 { inner_of_pkcs8(&der, path)? } else { &der };
        let bits = modulus_bits(der).ok_or_else(damaged)?;
        if bits < BITS_MIN {
            return Err(KeyError::Weak { path: at(), bits });
        }
        let key = AppKey { key: EncodingKey::from_rsa_der(der), bits };
        // One signature now, so that a damaged number is found here and not at the first token.
        key.sign(&serde_json::json!({})).map_err(|_| damaged())?;
        Ok(key)
    }

    /// Its length in bits.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// A JWT with these claims, signed RS256.
    pub fn sign(&self, claims: &serde_json::Value) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::RS256), claims, &self.key)
    }
}

/// Label and body of the first PEM block. A pasted key has `\n` where its lines should end.
fn armour(pem: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = find(pem, b"-----BEGIN ")? + b"-----BEGIN ".len();
    let label_end = start + find(&pem[start..], b"-----")?;
    let (label, body) = (&pem[start..label_end], &pem[label_end + 5..]);
    let end = find(body, b"-----END ")?;
    let closing = &body[end + b"-----END ".len()..];
    (closing.starts_with(label) && closing[label.len()..].starts_with(b"-----"))
        .then_some((label, &body[..end]))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|it| it == part)
}

/// Base64 with blanks, line ends and escaped line ends in between, into a buffer that is wiped.
pub fn decode_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    let (mut bits, mut count, mut padding) = (0_u32, 0, 0);
    let mut text = text.iter();
    while let Some(byte) = text.next() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            b'\\' if matches!(text.next(), Some(b'n' | b'r')) => continue,
            _ if byte.is_ascii_whitespace() => continue,
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        count += 1;
        if count % 4 == 0 {
            bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
            bits = 0;
        }
    }
    match (count % 4, padding) {
        (0, 0) => {}
        (2, 0 | 2) => bytes.push((bits >> 4) as u8),
        (3, 0 | 1) => bytes.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(bytes)
}

/// One element of DER: its tag, its contents, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// PKCS#8 is version, algorithm and, as a string of bytes, the PKCS#1 key.
fn inner_of_pkcs8<'a>(der: &'a [u8], path: &Path) -> Result<&'a [u8], KeyError> {
    let parts = || {
        let (SEQUENCE, body, _) = element(der)? else { return None };
        let (INTEGER, _, rest) = element(body)? else { return None };
        let (SEQUENCE, algorithm, rest) = element(rest)? else { return None };
        let (OBJECT_ID, id, _) = element(algorithm)? else { return None };
        let (OCTET_STRING, key, _) = element(rest)? else { return None };
        Some((id, key))
    };
    match parts() {
        Some((RSA_OID, key)) => Ok(key),
        Some((EC_OID, _)) => Err(KeyError::Ec(path.to_owned())),
        Some(_) => Err(KeyError::OtherAlgorithm(path.to_owned())),
        None => Err(KeyError::Damaged(path.to_owned())),
    }
}

/// PKCS#1 is version, modulus, and seven more numbers.
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let (SEQUENCE, body, _) = element(der)? else { return None };
    let (INTEGER, _, rest) = element(body)? else { return None };
    let (INTEGER, modulus, _) = element(rest)? else { return None };
    let zeros = modulus.iter().take_while(|it| **it == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_in_all_lengths() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm\r\n9vYg==", "foob"),
            ("Zm9v\\nYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode_base64(text.as_bytes()).unwrap().as_slice(), bytes.as_bytes());
        }
        for text in ["Z", "Zm9v!", "Zg=a", "Zg=", "Zm8=="] {
            assert!(decode_base64(text.as_bytes()).is_none(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let path = Path::new("key");
            let _ = AppKey::parse(&bytes, path);
            let label = "PRIVATE KEY";
            let mut text = format!("-----BEGIN {label}-----\n").into_bytes();
            text.extend(bytes.iter().map(|it| b"ABCDMIIEowAgEAo/+="[usize::from(*it) % 18]));
            text.extend(b"\n-----END PRIVATE KEY-----");
            let _ = AppKey::parse(&text, path);
            let _ = modulus_bits(&bytes);
            let _ = inner_of_pkcs8(&bytes, path);
        }
    }
}
