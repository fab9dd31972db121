//! Writing files so that a reader sees the old content or the new, never half of it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, Result};

/// Writes a file: `write` fills a temporary file beside `path`, which is then renamed.
///
/// On any failure (a full disk, an error of `write`) the temporary file is removed and what was
/// at `path` before is untouched. Missing parent folders are created.
///
/// ```
/// use flambeau_vision::files::write_atomically;
/// let path = std::env::temp_dir().join(format!("{}-atomic", std::process::id()));
/// write_atomically(&path, |out| out.write_all(b"whole"))?;
/// let broken = write_atomically(&path, |_| Err(std::io::Error::other("no")));
/// assert!(broken.is_err() && std::fs::read(&path).unwrap() == b"whole");
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// What `write` gives, and where the file cannot be made or renamed.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
    }
    let temporary = Temporary::beside(path);
    let filled = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(&temporary.0)?);
        write(&mut file)?;
        file.into_inner().map_err(|e| e.into_error())?.sync_all()?;
        fs::rename(&temporary.0, path)
    };
    filled().map_err(|e| Error::io(path, "write", &e))
}

/// A name in the folder of the final file. Whatever still bears it in the end is removed.
pub(crate) struct Temporary(pub PathBuf);

impl Temporary {
    /// A name for `path`'s content in the making: unique in this process and among processes.
    pub fn beside(path: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Renamed away in the good case, so failing is the rule; nobody is left to tell.
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::files::tests::folder;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let dir = folder("write");
        let path = dir.join("new/a.txt");
        write_atomically(&path, |w| w.write_all(b"first")).unwrap();
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = write_atomically(&path, |w| {
            w.write_all(b"half of the sec")?;
            Err(full())
        })
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().ends_with("free some space"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
