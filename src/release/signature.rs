//! Signatures in the form of minisign (<https://jedisct1.github.io/minisign/>): Ed25519 over the
//! BLAKE2b sum of the signed bytes (`ED`), and over a comment that is signed with them.

use std::fmt;

use minisign_verify::Error;

/// A signer's public key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    text: String,
    key: minisign_verify::PublicKey,
}

/// It is not the public key of a signer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not a public key as minisign writes it (RW and 54 more letters, or a file with such a line)"
)]
pub struct KeyError;

/// What a signature says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Signature {
    /// There is none.
    Absent,
    /// The key's owner signed these bytes, and this comment.
    By {
        /// Whose it is.
        key: PublicKey,
        /// minisign's "trusted comment".
        comment: String,
    },
    /// No key is known to check it with.
    Unknown,
    /// The wanted key did not make it. Where the key that came along did, it is named.
    ByAnother(Option<PublicKey>),
    /// Nobody can have made it for these bytes.
    Wrong(&'static str),
}

impl PublicKey {
    /// Reads a key: the text alone, or minisign's file with a comment line before it.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let text = str::from_utf8(text).map_err(|_| KeyError)?;
        let mut lines = text.lines();
        let line = match lines.next() {
            Some(comment) if comment.starts_with("untrusted comment:") => lines.next(),
            line => line,
        };
        let text = line.ok_or(KeyError)?.trim();
        let key = minisign_verify::PublicKey::from_base64(text).map_err(|_| KeyError)?;
        let text = text.to_owned();
        Ok(Self { text, key })
    }

    /// The comment that was signed with the bytes.
    fn verify(
        &self,
        bytes: &[u8],
        signature: &minisign_verify::Signature,
    ) -> Result<String, Error> {
        self.key.verify(bytes, signature, false)?;
        Ok(signature.trusted_comment().to_owned())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for PublicKey {}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Signature {
    /// Checks the content of a `.minisig` file by the key that is `wanted`; where none is, by the
    /// one that came along.
    #[must_use]
    pub fn check(
        bytes: &[u8],
        minisig: &[u8],
        wanted: Option<&PublicKey>,
        came_along: Option<&PublicKey>,
    ) -> Self {
        let Some(signature) = str::from_utf8(minisig)
            .ok()
            .and_then(|text| minisign_verify::Signature::decode(text).ok())
        else {
            return Self::Wrong("it is not in the form that minisign writes");
        };
        let Some(key) = wanted.or(came_along) else {
            return Self::Unknown;
        };
        match key.verify(bytes, &signature) {
            Ok(comment) => Self::By {
                key: key.clone(),
                comment,
            },
            Err(Error::UnexpectedKeyId) => Self::ByAnother(
                came_along
                    .filter(|other| other.verify(bytes, &signature).is_ok())
                    .cloned(),
            ),
            Err(Error::UnexpectedAlgorithm) => {
                Self::Wrong("it is of minisign's old kind, without a sum; sign with -H")
            }
            Err(_) => Self::Wrong("it is not the signature of this content, or was changed"),
        }
    }

    /// The one that tells more of two signatures of the same release: the first that is wrong, else
    /// the first that is there.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rank = |signature: &Self| match signature {
            Self::Absent => 0,
            Self::By { .. } => 1,
            Self::Unknown => 2,
            Self::ByAnother(_) => 3,
            Self::Wrong(_) => 4,
        };
        if rank(&other) > rank(&self) {
            other
        } else {
            self
        }
    }
}
