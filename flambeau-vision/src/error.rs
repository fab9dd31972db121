//! What can go wrong with the world's files, said in one sentence.

use std::fmt;
use std::path::Path;

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file, a picture or a download could not be had.
///
/// The message names the file (and the record in it, where there is one), says what is wrong
/// with it and what to do: `data/train.bin: record 7: label 12 is out of range 0..10; fetch a
/// fresh copy`.
///
/// ```
/// use flambeau_vision::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Corrupt, "cat.png", "the file is cut off", "save it again");
/// assert_eq!(error.to_string(), "cat.png: the file is cut off; save it again");
/// assert_eq!(error.kind(), ErrorKind::Corrupt);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    subject: String,
    problem: String,
    remedy: String,
}

/// The sort of an [`Error`], for programs that go on in another way.
///
/// ```
/// use flambeau_vision::{ErrorKind, Image};
/// let error = Image::open("no-such.png").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file or the data set is not where it was looked for.
    NotFound,
    /// The operating system refused to read or write: permissions, a full disk, ...
    Io,
    /// The bytes are not what the format asks for: truncated, damaged or of another format; or a
    /// set of files is not complete.
    Corrupt,
    /// The bytes are not the ones that were published.
    Checksum,
    /// The format is known but this part of it is not read here.
    Unsupported,
    /// The server could not be reached, or the connection broke.
    Network,
    /// The server was reached and refused.
    Server,
}

impl Error {
    /// An error about `subject` (a file, an address): `problem` says what is wrong,
    /// `remedy` what to do.
    pub fn new(
        kind: ErrorKind,
        subject: impl fmt::Display,
        problem: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        Self {
            kind,
            subject: subject.to_string(),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
        }
    }

    /// The sort of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// A file whose content is wrong.
    pub(crate) fn corrupt(path: &Path, problem: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Corrupt,
            path.display(),
            problem,
            "fetch or make the file anew",
        )
    }

    /// The operating system's refusal to `deed` ("read", "write") the file `path`.
    pub(crate) fn io(path: &Path, deed: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        let remedy = match error.kind() {
            Io::NotFound => "check the path",
            Io::PermissionDenied => "check the permissions of the file and its folder",
            Io::StorageFull | Io::QuotaExceeded => "free some space",
            Io::IsADirectory => "name a file, not a folder",
            _ => "check the disk",
        };
        Self::new(
            kind,
            path.display(),
            format_args!("cannot {deed}: {error}"),
            remedy,
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            problem,
            remedy,
            ..
        } = self;
        write!(f, "{subject}: {problem}; {remedy}")
    }
}

impl std::error::Error for Error {}

/// The error stays to be had as the source, for its kind.
impl From<Error> for flambeau_core::Error {
    #[track_caller]
    fn from(error: Error) -> Self {
        flambeau_core::Error::new("vision", error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_outlives_the_conversion() {
        let error = Error::new(ErrorKind::NotFound, "data", "no set there", "fetch it");
        let core = flambeau_core::Error::from(error.clone());
        let text = core.to_string();
        assert!(
            text.starts_with("vision: data: no set there; fetch it. At "),
            "{text}"
        );
        let source = std::error::Error::source(&core).unwrap();
        assert_eq!(source.downcast_ref(), Some(&error));
    }
}
