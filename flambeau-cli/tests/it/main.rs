//! The `flambeau` command from outside: what it writes, what it says, and what it refuses.

mod bad_input;
mod common;
mod resume;

use common::{Folder, cifar, flambeau, run, train, works};
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn train_writes_all_and_test_and_predict_read_it() {
    let dir = Folder::new("all");
    cifar(&dir, 40);
    let (data, out, summary) = (dir.arg(""), dir.arg("out"), dir.arg("made/summary.json"));
    let said = works(&train(
        &data,
        &out,
        &["--epochs", "1", "--summary", &summary],
    ));
    for part in [
        "cifar10: 200 training and 40 test images of 10 classes",
        "conv1",
        "[1,    16] loss: ",
        "Finished Training",
        "Accuracy of the network on the 40 test images",
        "airplane",
    ] {
        assert!(said.out.contains(part), "no {part:?} in {}", said.out);
    }
    assert_eq!(said.err, "");
    for name in ["checkpoint.safetensors", "model.safetensors"] {
        let bytes = fs::read(dir.join("out").join(name)).unwrap();
        assert!(bytes.len() > 4 * 62_006, "{name}");
    }
    for name in ["loss.png", "accuracy.png", "predictions.png"] {
        let bytes = fs::read(dir.join("out").join(name)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
    }
    assert_eq!(common::litter(&dir.join("out")), [""; 0]);

    let json: serde_json::Value = serde_json::from_slice(&fs::read(&summary).unwrap()).unwrap();
    assert_eq!(json["dataset"], "cifar10");
    assert_eq!(json["train_images"], 200);
    assert_eq!(json["test_images"], 40);
    assert_eq!(json["steps"], 50);
    for key in ["train_seconds", "test_seconds", "accuracy", "final_loss"] {
        assert!(
            json[key]
                .as_f64()
                .is_some_and(|x| (0.0..100.0).contains(&x)),
            "{key}: {json}"
        );
    }

    let again = dir.arg("test.json");
    works(&[
        "test",
        "--data-dir",
        &data,
        "--checkpoint",
        &out,
        "--summary",
        &again,
    ]);
    let tested: serde_json::Value = serde_json::from_slice(&fs::read(&again).unwrap()).unwrap();
    assert_eq!(tested["accuracy"], json["accuracy"]);

    let (a, b) = (dir.arg("out/loss.png"), dir.arg("out/predictions.png"));
    let said = works(&["predict", "--checkpoint", &out, "--top", "10", &a, &b]);
    assert_eq!(said.out.lines().count(), 2);
    for (line, path) in said.out.lines().zip([&a, &b]) {
        let ranked = line.strip_prefix(&format!("{path}: ")).unwrap();
        let p: Vec<f64> = ranked
            .split(", ")
            .map(|c| {
                c.strip_suffix(" %")
                    .unwrap()
                    .rsplit(' ')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        assert_eq!(p.len(), 10);
        assert!(p.is_sorted_by(|x, y| x >= y), "{line}");
        assert!((p.iter().sum::<f64>() - 100.0).abs() < 1.0, "{line}");
    }

    // One that cannot be read does not keep the others from being named.
    let said = run(flambeau(&[
        "predict",
        "--checkpoint",
        &out,
        "nowhere.png",
        &a,
    ]));
    assert_eq!((said.code, said.out.lines().count()), (Some(1), 1));
    assert!(
        said.err.contains("nowhere.png") && said.err.contains("1 of 2 pictures"),
        "{}",
        said.err
    );
}

#[test]
fn doctor_tells_about_the_machine() {
    let said = works(&["doctor"]);
    for part in [
        concat!("flambeau     ", env!("CARGO_PKG_VERSION")),
        "CPU features ",
        "kernels in use",
        "threads      ",
        "memory       ",
        "CUDA         ",
    ] {
        assert!(said.out.contains(part), "no {part:?} in {}", said.out);
    }
}

/// `flambeau doctor | head -0`: the reader is gone before anything is printed.
#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let mut child = flambeau(&["doctor"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said = common::Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

#[test]
fn without_cifar_and_network_it_says_so_and_takes_the_sample() {
    let dir = Folder::new("offline");
    let mut command = flambeau(&[
        "train",
        "--epochs",
        "1",
        "--batch-size",
        "200",
        "--lr",
        "0.01",
        "--summary",
        "s.json",
    ]);
    // Nobody listens at port 9: as good as no network, and told at once.
    proxy(command.current_dir(&*dir), "http://127.0.0.1:9");
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.err.trim_end().lines().count(), 1, "{}", said.err);
    assert!(
        said.err.contains("could not be downloaded") && said.err.contains("--data-dir"),
        "{}",
        said.err
    );
    assert!(
        said.out
            .contains("sample: 6000 training and 1000 test images"),
        "{}",
        said.out
    );
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("s.json")).unwrap()).unwrap();
    assert_eq!(
        (&json["dataset"], &json["steps"]),
        (&"sample".into(), &30.into())
    );
    // Nor is anything left of the attempt.
    assert!(!dir.join("data").exists());
}

/// Sends what the command fetches to `address`.
fn proxy(command: &mut Command, address: &str) {
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
        "http_proxy",
    ] {
        command.env(name, address);
    }
}

/// A network that swallows what is sent: connections come about and nothing is ever answered.
#[test]
fn a_silent_network_costs_seconds() {
    let dir = Folder::new("silent");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = flambeau(&["train", "--epochs", "0"]);
    let address = format!("http://{}", listener.local_addr().unwrap());
    proxy(command.current_dir(&*dir), &address);
    let start = Instant::now();
    let said = run(command);
    assert!(start.elapsed() < Duration::from_secs(12));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.err.contains("no answer within 5 s") && said.err.contains("--data-dir"),
        "{}",
        said.err
    );
    assert!(!dir.join("data").exists());
}

/// What is on disk but damaged is named, not passed over for other pictures.
#[test]
fn a_damaged_copy_in_data_is_an_error() {
    let dir = Folder::new("damaged");
    cifar(&dir.join("data"), 4);
    let file = dir.join("data/cifar-10-batches-bin/data_batch_3.bin");
    let refused = |parts: &[&str]| {
        let mut command = flambeau(&["train", "--epochs", "0"]);
        proxy(command.current_dir(&*dir), "http://127.0.0.1:9");
        let said = run(command);
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(1), ""),
            "{}",
            said.err
        );
        for part in parts {
            assert!(said.err.contains(part), "no {part:?} in {}", said.err);
        }
    };
    fs::write(&file, [7; 100]).unwrap();
    refused(&["data_batch_3.bin", "record 0 is cut off"]);
    fs::remove_file(&file).unwrap();
    refused(&["data_batch_3.bin", "is missing", "fetch the set anew"]);
}
