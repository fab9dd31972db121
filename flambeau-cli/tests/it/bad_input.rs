//! Whatever is wrong is said in one line; nothing panics.

use crate::common::{Folder, RECORD, cifar, flambeau, misused, refused, run, train, works};
use std::fs;
use std::path::Path;

#[test]
fn data_files() {
    let dir = Folder::new("data");
    let (data, out) = (dir.arg(""), dir.arg("out"));
    let bad = |parts: &[&str]| refused(&train(&data, &out, &["--epochs", "1"]), parts);
    bad(&["no CIFAR-10 there", "cifar-10-batches-bin"]);

    cifar(&dir, 4);
    let file = dir.join("cifar-10-batches-bin/data_batch_3.bin");
    let good = fs::read(&file).unwrap();
    fs::write(&file, &good[..good.len() - 100]).unwrap();
    bad(&[
        "data_batch_3.bin",
        "no whole number of records of 3073",
        "record 3 is cut off",
    ]);
    fs::write(&file, [&good[..], b"tail"].concat()).unwrap();
    bad(&["data_batch_3.bin", "no whole number of records of 3073"]);
    fs::write(&file, "").unwrap();
    bad(&["data_batch_3.bin"]);
    let mut label = good.clone();
    label[2 * RECORD] = 10;
    fs::write(&file, label).unwrap();
    bad(&[
        "data_batch_3.bin",
        "record 2: label 10 is out of range 0..10",
    ]);
    fs::remove_file(&file).unwrap();
    bad(&["data_batch_3.bin", "missing"]);
    assert!(!dir.join("out").exists());

    // An archive that is not the official one.
    let archive = Folder::new("archive");
    fs::write(archive.join("cifar-10-binary.tar.gz"), "no archive").unwrap();
    refused(
        &["train", "--data-dir", &archive.arg("")],
        &["cifar-10-binary.tar.gz", "checksum"],
    );
}

/// A safetensors file by hand: one tensor, and what flambeau keeps in the metadata.
fn foreign(path: &Path, meta: &str) {
    let mut header = serde_json::json!({
        "weight": { "dtype": "F32", "shape": [1], "data_offsets": [0, 4] },
    });
    if !meta.is_empty() {
        header["__metadata__"] = serde_json::json!({ "flambeau": meta });
    }
    let header = header.to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(1f32.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn checkpoints_and_pictures() {
    let dir = Folder::new("checkpoints");
    cifar(&dir, 4);
    let (data, out, other) = (dir.arg(""), dir.arg("out"), dir.arg("other.safetensors"));
    works(&train(&data, &out, &["--epochs", "1"]));
    let resume = |more: &[&str], parts: &[&str]| {
        refused(&train(&data, &dir.arg("new"), more), parts);
    };
    // Each is refused by all that read it.
    let bad = |parts: &[&str]| {
        refused(
            &["test", "--data-dir", &data, "--checkpoint", &other],
            parts,
        );
        refused(
            &["predict", "--checkpoint", &other, &dir.arg("out/loss.png")],
            parts,
        );
        resume(&["--resume", &other], parts);
    };
    bad(&["other.safetensors", "could not be read"]);

    let good = fs::read(dir.join("out/checkpoint.safetensors")).unwrap();
    for length in [0, 5, 300, good.len() / 2, good.len() - 1] {
        fs::write(&other, &good[..length]).unwrap();
        bad(&["other.safetensors", "not a whole safetensors file"]);
    }
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&other, bytes).unwrap();
    };
    flipped(good.len() * 3 / 4);
    bad(&["other.safetensors", "checksum"]);
    // In the header some changes are harmless (in a time); none may panic.
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    for i in 0..12 {
        flipped(i * header / 12);
        let said = run(flambeau(&train(
            &data,
            &dir.arg("new"),
            &["--resume", &other],
        )));
        assert!(
            matches!(said.code, Some(0 | 1)),
            "byte {}: {}",
            i * header / 12,
            said.err
        );
    }

    foreign(Path::new(&other), "");
    bad(&["not written by flambeau train"]);
    let classes: Vec<_> = "airplane automobile bird cat deer dog frog horse ship truck"
        .split(' ')
        .collect();
    let about = serde_json::json!({ "about": { "dataset": "cifar10", "model": "lenet", "classes": classes } });
    foreign(Path::new(&other), &about.to_string());
    for command in [
        &["test", "--data-dir", &data][..],
        &["predict", &dir.arg("out/loss.png")],
    ] {
        refused(
            &[command, &["--checkpoint", &other]].concat(),
            &[
                "other.safetensors",
                "conv1.weight",
                "unexpected in the state dict (1): weight",
            ],
        );
    }

    // Other pictures, other options.
    refused(
        &["test", "--dataset", "sample", "--checkpoint", &out],
        &["trained on cifar10", "--dataset"],
    );
    resume(
        &["--resume", &out, "--dataset", "sample"],
        &["trained on cifar10", "on sample"],
    );
    for more in [
        ["--lr", "0.5"],
        ["--momentum", "0"],
        ["--batch-size", "5"],
        ["--seed", "1"],
    ] {
        resume(
            &[&["--resume", &out][..], &more].concat(),
            &["trained with other options"],
        );
    }
    cifar(&dir.join("more"), 5);
    refused(
        &train(&dir.arg("more"), &dir.arg("new"), &["--resume", &out]),
        &["other options", "\"train_images\":25"],
    );

    // Pictures.
    let see = |path: &str, parts: &[&str]| refused(&["predict", "--checkpoint", &out, path], parts);
    fs::write(dir.join("text.png"), "no picture").unwrap();
    see(&dir.arg("text.png"), &["text.png", "neither PNG nor JPEG"]);
    fs::write(dir.join("empty.jpg"), "").unwrap();
    see(&dir.arg("empty.jpg"), &["empty.jpg", "empty"]);
    let png = fs::read(dir.join("out/loss.png")).unwrap();
    for length in [10, png.len() / 2] {
        fs::write(dir.join("cut.png"), &png[..length]).unwrap();
        see(&dir.arg("cut.png"), &["cut.png", "PNG"]);
    }
    see(&dir.arg("none.png"), &["none.png"]);
    see(&dir.arg("out"), &["out"]);
}

#[test]
fn options() {
    misused(
        &["train", "--frobnicate"],
        "unexpected argument '--frobnicate'",
    );
    misused(&["train", "--epoch", "3"], "--epoch");
    misused(&["fly"], "'fly'");
    misused(&["train", "--batch-size", "0"], "at least 1");
    misused(&["train", "--batch-size", "four"], "not a whole number");
    misused(&["train", "--threads", "0"], "at least 1");
    for option in ["--lr", "--momentum"] {
        for value in ["-0.1", "NaN", "inf", "1e999"] {
            misused(
                &["train", option, value],
                "it must be a finite number, at least 0",
            );
        }
        misused(&["train", option, "much"], "\"much\" is not a number");
    }
    misused(&["train", "--dataset", "imagenet"], "imagenet");
    misused(&["train", "--model", "resnet"], "resnet");
    misused(
        &["train", "--device", "nonsense"],
        "expected cpu, cuda or cuda:N",
    );
    for device in ["cuda:98", "cuda:99"] {
        refused(
            &["train", "--dataset", "sample", "--device", device],
            &["not available"],
        );
        refused(&["test", "--device", device], &["not available"]);
        refused(
            &["predict", "--device", device, "x.png"],
            &["not available"],
        );
    }
    let said = works(&["train", "--help"]);
    assert!(said.out.contains("--resume") && !said.out.contains("--checkpoint-every"));
}

#[test]
fn places_to_write() {
    let dir = Folder::new("places");
    cifar(&dir, 4);
    fs::write(dir.join("file"), "mine").unwrap();
    let (data, out) = (dir.arg(""), dir.arg("out"));
    for bad in ["file", "file/below"] {
        let bad = dir.arg(bad);
        refused(&train(&data, &bad, &[]), &["cannot make the folder", &bad]);
    }
    // Said before the training, not after it.
    fs::create_dir(dir.join("folder")).unwrap();
    for bad in ["folder", "file/below"] {
        let bad = dir.arg(bad);
        refused(
            &train(&data, &out, &["--summary", &bad]),
            &["the summary cannot be written", &bad],
        );
    }
    assert!(!dir.join("out").exists());
    assert_eq!(fs::read(dir.join("file")).unwrap(), b"mine");
}
