//! Published checksums of files.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result};

/// A file's published checksum, in lower-case hexadecimal digits.
///
/// SHA-256 wherever it is published. MD5 proves that a file arrived whole, not that nobody
/// forged it.
///
/// ```
/// use flambeau_vision::files::Checksum;
/// let path = std::env::temp_dir().join(format!("{}-checksum", std::process::id()));
/// std::fs::write(&path, "abc").unwrap();
/// assert!(Checksum::Md5("900150983cd24fb0d6963f7d28e17f72").verify(&path).is_ok());
/// assert!(Checksum::Md5("00000000000000000000000000000000").verify(&path).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// 32 digits.
    Md5(&'static str),
    /// 64 digits.
    Sha256(&'static str),
}

impl Checksum {
    /// Reads the file through and compares.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] with both sums when they differ; else what reading gives.
    pub fn verify(&self, path: &Path) -> Result<()> {
        let (expected, found) = match self {
            Self::Md5(expected) => (expected, digest::<Md5>(path)),
            Self::Sha256(expected) => (expected, digest::<Sha256>(path)),
        };
        let found = found.map_err(|e| Error::io(path, "read", &e))?;
        if *expected == found {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Checksum,
            path.display(),
            format_args!("the checksum is {found}, should be {self}"),
            "the file is damaged or not the official one: delete it and fetch it again",
        ))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Md5(digits) => write!(f, "{digits} (MD5)"),
            Self::Sha256(digits) => write!(f, "{digits} (SHA-256)"),
        }
    }
}

fn digest<D: Digest>(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => digest.update(&buffer[..n]),
        }
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::folder;

    #[test]
    fn known_sums() {
        let dir = folder("sums");
        let path = dir.join("abc");
        std::fs::write(&path, "abc").unwrap();
        // RFC 1321, A.5 and FIPS 180-2, B.1.
        let md5 = Checksum::Md5("900150983cd24fb0d6963f7d28e17f72");
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        md5.verify(&path).unwrap();
        Checksum::Sha256(sha).verify(&path).unwrap();
        std::fs::write(&path, "abd").unwrap();
        let error = md5.verify(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checksum);
        assert!(
            error
                .to_string()
                .contains("should be 900150983cd24fb0d6963f7d28e17f72 (MD5)")
        );
    }
}
