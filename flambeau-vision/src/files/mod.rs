//! Reading and writing the world's files: data sets, pictures, charts, downloads.
//!
//! Everything here deals in raw bytes and plain structs; the data sets and transforms turn
//! them into tensors. No input, however damaged, panics or asks for memory that its size does
//! not justify.
//!
//! | | |
//! | --- | --- |
//! | [`cifar`], [`fashion`] | data sets as [`ImageSet`]s of a [`Split`] |
//! | [`idx`], [`pickle`] | the formats they come in |
//! | [`RgbImage`] | PNG and JPEG read, PNG written |
//! | [`plot`], [`Sheet`] | curves, pictures with captions |
//! | [`download`], [`Checksum`] | files from the network, proved whole |
//! | [`write_atomically`] | all of a file or none |

mod checksum;
pub mod cifar;
pub mod download;
pub mod fashion;
pub mod idx;
mod image;
mod image_set;
pub mod pickle;
pub mod plot;
mod sheet;
mod write;

pub use checksum::Checksum;
pub use image::RgbImage;
pub use image_set::{ImageSet, Labels};
pub use sheet::Sheet;
pub use write::write_atomically;

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// The pictures to train on.
    Train,
    /// The pictures to test with.
    Test,
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// An empty folder that is removed when the test is over, failed or not.
    pub struct Folder(PathBuf);

    impl std::ops::Deref for Folder {
        type Target = Path;

        fn deref(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    pub fn folder(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("flambeau-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name)
    }
}
