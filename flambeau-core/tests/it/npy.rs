//! `.npy` and `.npz` against files written by NumPy: see `goldens/io/make_npy.py`.

use flambeau_core::{DType, Result, Tensor};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens/io/npy")
        .join(name)
}

fn load(name: &str) -> Tensor {
    Tensor::load_npy(golden(name)).unwrap()
}

/// A folder of this test's own, empty and removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("flambeau-npy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn numpys_files_are_read() -> Result<()> {
    let quarters = [[0.0, 0.25, 0.5], [0.75, 1.0, 1.25]];
    assert_eq!(load("f4.npy").to_vec2::<f32>()?, quarters);
    assert_eq!(load("f4_big.npy").to_vec2::<f32>()?, quarters);
    let fortran = load("f8_fortran.npy");
    assert!(fortran.is_contiguous() && fortran.shape() == [2, 3, 4]);
    assert_eq!(
        fortran.to_vec::<f64>()?,
        (0..24).map(f64::from).collect::<Vec<_>>()
    );
    assert_eq!(
        load("i8_fortran_big.npy").to_vec2::<i64>()?,
        [[0, 1, 2], [3, 4, 5]]
    );
    assert_eq!(
        load("f2.npy").to_dtype(DType::F32)?.to_vec::<f32>()?,
        [0.5, -2.0, 65504.0]
    );
    assert_eq!(
        load("bool.npy").to_vec2::<bool>()?,
        [[true, false], [false, true]]
    );
    assert_eq!(load("u1.npy").to_vec::<u8>()?, [0, 255]);
    assert_eq!(load("i1.npy").to_vec::<i8>()?, [-128, 127]);
    assert_eq!(load("i2.npy").to_vec::<i16>()?, [-300, 300]);
    assert_eq!(load("i4.npy").to_vec3::<i32>()?, [[[-70000]]]);
    assert_eq!(
        (load("scalar.npy").dim(), load("scalar.npy").item::<f64>()?),
        (0, 2.5)
    );
    assert_eq!(
        (load("empty.npy").shape(), load("empty.npy").dtype()),
        (&[0, 3][..], DType::I64)
    );
    for version in ["version2.npy", "version3.npy"] {
        assert_eq!(load(version).to_vec::<i64>()?, [0, 1, 2]);
    }
    Ok(())
}

#[test]
fn what_is_no_tensor_says_what_to_do() {
    for (name, word) in [
        ("objects.npy", "Python objects"),
        ("records.npy", "records"),
        ("complex.npy", "astype"),
        ("u4.npy", "astype"),
        ("missing.npy", "missing.npy"),
    ] {
        let error = Tensor::load_npy(golden(name)).unwrap_err().to_string();
        assert!(error.contains(word), "{name}: {error}");
    }
    let folder = Folder::new("bf16");
    let x = Tensor::ones_with([2], DType::BF16).unwrap();
    let path = folder.0.join("x.npy");
    let error = x.save_npy(&path).unwrap_err().to_string();
    assert!(error.contains("to_dtype(DType::F32)"), "{error}");
    assert!(!path.exists());
}

#[test]
fn files_are_written_as_numpy_writes_them() -> Result<()> {
    let folder = Folder::new("write");
    for name in [
        "f4.npy",
        "bool.npy",
        "u1.npy",
        "i1.npy",
        "i2.npy",
        "i4.npy",
        "f2.npy",
        "scalar.npy",
        "empty.npy",
    ] {
        let path = folder.0.join(name);
        load(name).save_npy(&path)?;
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(golden(name)).unwrap(),
            "{name}"
        );
    }
    // A view is written as its elements stand, and a file in the way is replaced.
    let x = Tensor::arange(0, 6, 1)?.view([2, 3])?;
    let path = folder.file("f4.npy", b"old");
    x.t()?.save_npy(&path)?;
    assert_eq!(
        Tensor::load_npy(&path)?.to_vec2::<i64>()?,
        [[0, 3], [1, 4], [2, 5]]
    );
    let left: Vec<_> = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|n| !n.to_string_lossy().ends_with(".tmp")),
        "{left:?}"
    );
    assert!(x.save_npy(folder.0.join("no/such/folder.npy")).is_err());
    Ok(())
}

#[test]
fn archives_go_both_ways() -> Result<()> {
    let two = Tensor::load_npz(golden("two.npz"))?;
    assert_eq!(
        (two[0].0.as_str(), two[0].1.to_vec2::<f32>()?),
        ("w", vec![vec![0., 1.], vec![2., 3.]])
    );
    assert_eq!(
        (two[1].0.as_str(), two[1].1.to_vec::<i64>()?),
        ("b", vec![7, 8])
    );
    let compressed = Tensor::load_npz(golden("compressed.npz"))?;
    assert_eq!(
        (compressed[0].1.shape(), compressed[1].1.item::<f32>()?),
        (&[50, 50][..], 1.0)
    );
    let folder = Folder::new("npz");
    for (name, deflate) in [("a.npz", false), ("b.npz", true)] {
        let (path, x, y) = (
            folder.0.join(name),
            Tensor::zeros([100, 10])?,
            Tensor::from(true),
        );
        let arrays = [("layer.weight", &x), ("flag", &y)];
        if deflate {
            Tensor::save_npz_compressed(&path, &arrays)?;
        } else {
            Tensor::save_npz(&path, &arrays)?;
        }
        let back = Tensor::load_npz(&path)?;
        assert_eq!(
            (back[0].0.as_str(), back[0].1.shape()),
            ("layer.weight", &[100, 10][..])
        );
        assert_eq!(
            (back[1].0.as_str(), back[1].1.item::<bool>()?),
            ("flag", true)
        );
        assert_eq!(std::fs::metadata(&path).unwrap().len() < 4000, deflate);
    }
    let x = Tensor::zeros(1)?;
    let twice = Tensor::save_npz(folder.0.join("c.npz"), &[("x", &x), ("x", &x)]);
    assert!(twice.unwrap_err().to_string().contains("names must differ"));
    Ok(())
}

#[test]
fn truncated_and_hostile_files_are_errors() {
    let folder = Folder::new("bad");
    let good = std::fs::read(golden("f4.npy")).unwrap();
    for length in 0..good.len() {
        let path = folder.file("short.npy", &good[..length]);
        let error = Tensor::load_npy(&path).unwrap_err().to_string();
        assert!(error.contains("cut short"), "{length}: {error}");
    }
    // Every byte of the header changed in turn: an error or another array, never a panic.
    for at in 0..128 {
        for value in [0, b'9', 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            let _ = Tensor::load_npy(folder.file("changed.npy", &bad));
        }
    }
    let header = |shape: &str| {
        let text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes
    };
    for shape in [
        "(1000000000000,)",
        "(4294967296, 4294967296)",
        "(18446744073709551615,)",
        "(3, 99999999999)",
    ] {
        assert!(
            Tensor::load_npy(folder.file("huge.npy", &header(shape))).is_err(),
            "{shape}"
        );
    }
    let endless = [b"\x93NUMPY\x02\x00".as_slice(), &u32::MAX.to_le_bytes()].concat();
    let error = Tensor::load_npy(folder.file("endless.npy", &endless)).unwrap_err();
    assert!(error.to_string().contains("4294967295 bytes"), "{error}");
    let mut archive = std::fs::read(golden("two.npz")).unwrap();
    assert!(Tensor::load_npz(folder.file("cut.npz", &archive[..archive.len() / 2])).is_err());
    // A changed element fails the archive's checksum.
    let at = archive
        .windows(4)
        .position(|w| w == 3.0f32.to_le_bytes())
        .unwrap();
    archive[at] ^= 1;
    assert!(Tensor::load_npz(folder.file("changed.npz", &archive)).is_err());
    for at in 0..archive.len() {
        let mut bad = archive.clone();
        bad[at] ^= 0xff;
        let _ = Tensor::load_npz(folder.file("changed.npz", &bad));
    }
}
