//! Killed at any moment, stopped, or with a full disk: training goes on to the same bits.

use crate::common::{Folder, cifar, flambeau, litter, run, train, works};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What must not depend on where training was interrupted.
fn result(out: &Path) -> Vec<Vec<u8>> {
    [
        "model.safetensors",
        "loss.png",
        "accuracy.png",
        "predictions.png",
    ]
    .map(|name| fs::read(out.join(name)).unwrap())
    .into()
}

#[test]
fn killed_or_stopped_and_resumed_it_ends_with_the_same_bits() {
    let dir = Folder::new("killed");
    cifar(&dir, 240);
    // 600 steps in an epoch.
    let data = dir.arg("");
    let options = |workers: &'static str| {
        [
            "--batch-size",
            "2",
            "--workers",
            workers,
            "--checkpoint-every",
            "70",
        ]
    };
    let (whole, killed, stopped) = (dir.arg("whole"), dir.arg("killed"), dir.arg("stopped"));
    works(&train(&data, &whole, &options("2")));

    // Stopped after an epoch.
    works(&train(
        &data,
        &stopped,
        &[&options("0")[..], &["--epochs", "1"]].concat(),
    ));
    assert_ne!(result(&dir.join("stopped")), result(&dir.join("whole")));
    let said = works(&train(
        &data,
        &stopped,
        &[&options("2")[..], &["--resume", &stopped]].concat(),
    ));
    assert!(
        said.out.contains("going on after epoch 1, step 0"),
        "{}",
        said.out
    );
    assert_eq!(result(&dir.join("stopped")), result(&dir.join("whole")));

    // Killed some time after a new checkpoint, four times: the first run begins with one.
    let file = dir.join("killed/checkpoint.safetensors");
    for (i, workers) in ["2", "0", "0", "2"].into_iter().enumerate() {
        let mut args = train(&data, &killed, &options(workers)).to_vec();
        if i > 0 {
            args.extend(["--resume", &killed]);
        }
        let mut seen = fs::read(&file).ok();
        let mut child = flambeau(&args).stdout(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        let mut changes = if i == 0 { 2 } else { 1 };
        while changes > 0 {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "no checkpoint came"
            );
            std::thread::sleep(Duration::from_millis(2));
            let now = fs::read(&file).ok();
            if now != seen {
                (seen, changes) = (now, changes - 1);
            }
        }
        std::thread::sleep(Duration::from_millis(17 * i as u64));
        child.kill().unwrap();
        assert_eq!(
            child.wait().unwrap().code(),
            None,
            "it had ended before it was killed"
        );
    }
    // What a kill during a save leaves.
    fs::write(dir.join("killed/checkpoint.safetensors.1.0.tmp"), "half").unwrap();
    let said = works(&train(
        &data,
        &killed,
        &[&options("2")[..], &["--resume", &killed]].concat(),
    ));
    let position = said
        .out
        .lines()
        .find(|l| l.starts_with("going on after epoch "))
        .unwrap();
    let step: usize = position.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(step > 0 && step.is_multiple_of(70), "{position}");
    assert_eq!(result(&dir.join("killed")), result(&dir.join("whole")));
    assert_eq!(litter(&dir.join("killed")), [""; 0]);
}

#[test]
fn a_full_disk_leaves_the_old_checkpoint() {
    let dir = Folder::new("full");
    cifar(&dir, 20);
    let (data, out) = (dir.arg(""), dir.arg("out"));
    works(&train(&data, &out, &["--epochs", "1"]));
    let file = dir.join("out/checkpoint.safetensors");
    let old = fs::read(&file).unwrap();

    // No file may grow beyond 100 blocks: a write beyond fails as on a full disk.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' XFSZ; ulimit -f 100; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_flambeau"),
    ]);
    command.args(train(&data, &out, &["--epochs", "2", "--resume", &out]));
    let said = run(command);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(said.err.trim_end().lines().count(), 1, "{}", said.err);
    assert!(
        said.err
            .contains("checkpoint.safetensors could not be written"),
        "{}",
        said.err
    );
    assert!(fs::read(&file).unwrap() == old);
    assert_eq!(litter(&dir.join("out")), [""; 0]);
    works(&["test", "--data-dir", &data, "--checkpoint", &out]);
    works(&train(&data, &out, &["--epochs", "2", "--resume", &out]));
    assert!(fs::read(&file).unwrap() != old);
}
