//! Unpacking an official archive.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use tar::Archive;

use super::sources::Source;
use crate::files::write::Temporary;
use crate::{Error, Result};

/// More than any official file has.
const MAX_FILE: u64 = 1 << 28;

/// Unpacks the set's files into a temporary folder, which becomes `folder` when they are all
/// there. Whatever else the archive holds is left out, so no entry can write elsewhere.
pub(super) fn unpack(source: &Source, archive: &Path, folder: &Path) -> Result<()> {
    let temporary = Temporary::beside(folder);
    let write = |e: io::Error| Error::io(folder, "unpack into", &e);
    let damaged = |e: io::Error| Error::corrupt(archive, format_args!("damaged archive: {e}"));
    fs::create_dir_all(&temporary.0).map_err(write)?;
    let file = File::open(archive).map_err(|e| Error::io(archive, "read", &e))?;
    let mut wanted: Vec<&str> = source.all_files().iter().map(|&(name, _)| name).collect();
    let mut entries = Archive::new(GzDecoder::new(io::BufReader::new(file)));
    for entry in entries.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let Some(name) = path.strip_prefix(source.folder).ok().and_then(Path::to_str) else {
            continue;
        };
        let known = wanted.contains(&name) || source.name_files().contains(&name);
        if !known || !entry.header().entry_type().is_file() {
            continue;
        }
        if entry.size() > MAX_FILE {
            return Err(Error::corrupt(archive, format_args!("{name} is too large")));
        }
        // Held in memory, so that a damaged archive and a full disk are told apart.
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(damaged)?;
        if content.len() as u64 != entry.size() {
            return Err(Error::corrupt(archive, format_args!("{name} is cut off")));
        }
        fs::write(temporary.0.join(name), content).map_err(write)?;
        wanted.retain(|&other| other != name);
    }
    if let Some(missing) = wanted.first() {
        return Err(Error::corrupt(
            archive,
            format_args!("{missing} is not in it"),
        ));
    }
    match fs::rename(&temporary.0, folder) {
        // Another process was quicker.
        Err(_)
            if source
                .all_files()
                .iter()
                .all(|(name, _)| folder.join(name).is_file()) =>
        {
            Ok(())
        }
        renamed => renamed.map_err(write),
    }
}
