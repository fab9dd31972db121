//! `cargo xtask goldens`: writes `flambeau-core/tests/goldens/NAME.txt` for each operation.

use flambeau_core::ops::spec;
use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// Refreshes the goldens of all operations, or of those named after `--only`.
pub fn run(args: &[String]) -> Result<(), Box<dyn Error>> {
    let only: Option<HashSet<&str>> = match args {
        [] => None,
        [flag, names @ ..] if flag == "--only" && !names.is_empty() => {
            Some(names.iter().flat_map(|n| n.split(',')).collect())
        }
        _ => return Err("usage: cargo xtask goldens [--only NAME[,NAME...]]".into()),
    };
    let all = spec::all();
    if let Some(unknown) = (only.iter().flatten()).find(|n| !all.iter().any(|s| s.name == **n)) {
        return Err(format!("no operation is named {unknown}; see ops::spec::all").into());
    }
    let mut requests = Vec::new();
    for spec in &all {
        if only.as_ref().is_none_or(|o| o.contains(spec.name)) {
            requests.push(spec.request(&spec.cases()?)?);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("flambeau-core/tests/goldens");
    let file = std::env::temp_dir().join(format!("flambeau-goldens-{}.json", std::process::id()));
    std::fs::write(&file, format!("[{}]", requests.join(",\n")))?;
    let status = Command::new("python3")
        .arg(folder.join("make.py"))
        .arg(&file)
        .arg(&folder)
        .status()
        .map_err(|e| format!("python3 does not start ({e}); goldens need python3 with torch"))?;
    std::fs::remove_file(&file)?;
    if !status.success() {
        return Err("PyTorch did not answer everything; see above".into());
    }
    if only.is_none() {
        remove_stale(&folder, &all)?;
    }
    println!("{} operations written", requests.len());
    Ok(())
}

/// Removes goldens of operations that are no more.
fn remove_stale(folder: &Path, all: &[spec::OpSpec]) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|n| n.to_str());
        if path.extension().is_some_and(|e| e == "txt") && !all.iter().any(|s| Some(s.name) == name)
        {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}
