//! A folder that cleans up after itself, tiny data, and the command.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A new folder, removed in the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("flambeau-it-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// A path in it, as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.join(name).to_str().unwrap().to_owned()
    }
}

impl Deref for Folder {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes of a picture with its label.
pub const RECORD: usize = 1 + 3 * 32 * 32;

/// Writes CIFAR-10's binary layout with `records` noisy pictures in each of the six files, each
/// the brighter the higher its label.
pub fn cifar(dir: &Path, records: usize) {
    let folder = dir.join("cifar-10-batches-bin");
    fs::create_dir_all(&folder).unwrap();
    let mut noise = 1u32;
    for name in [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ] {
        let mut bytes = Vec::with_capacity(records * RECORD);
        for i in 0..records {
            let label = (i % 10) as u8;
            bytes.push(label);
            bytes.extend((1..RECORD).map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                label * 20 + (noise >> 26) as u8
            }));
        }
        fs::write(folder.join(name).with_extension("bin"), bytes).unwrap();
    }
}

/// The command with these arguments.
pub fn flambeau<S: AsRef<str>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flambeau"));
    command.args(args.iter().map(|a| a.as_ref()));
    command
}

/// What it printed.
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let said = Said {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        };
        assert!(!said.err.contains("panicked"), "{}", said.err);
        said
    }
}

pub fn run(mut command: Command) -> Said {
    command.output().unwrap().into()
}

/// Runs it; it must succeed.
pub fn works<S: AsRef<str>>(args: &[S]) -> Said {
    let said = run(flambeau(args));
    assert_eq!(said.code, Some(0), "{}", said.err);
    said
}

/// Runs it; it must fail and say all of `parts` in one line.
pub fn refused<S: AsRef<str>>(args: &[S], parts: &[&str]) {
    let said = run(flambeau(args));
    let what = args
        .iter()
        .map(|a| a.as_ref())
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(said.code, Some(1), "{what}: {}", said.err);
    assert_eq!(
        said.err.trim_end().lines().count(),
        1,
        "{what}: {}",
        said.err
    );
    assert!(said.err.starts_with("flambeau: "), "{what}: {}", said.err);
    for part in parts {
        assert!(
            said.err.contains(part),
            "{what}: no {part:?} in {}",
            said.err
        );
    }
}

/// Runs it; the options must be refused with `part` in the first line.
pub fn misused<S: AsRef<str>>(args: &[S], part: &str) {
    let said = run(flambeau(args));
    assert_eq!(said.code, Some(2), "{}", said.err);
    let first = said.err.lines().next().unwrap_or_default();
    assert!(first.contains(part), "no {part:?} in {first}");
}

/// `train` on tiny data, with further options.
pub fn train<'a>(data: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let first = ["train", "--threads", "1", "--data-dir", data, "--out", out];
    [&first, more].concat()
}

/// Files in `dir` that are no result of training.
pub fn litter(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.contains("tmp")).collect()
}
