//! Checkpoints: there and back, other programs' files, and everything that can be wrong with one.

use crate::{alone, pattern};
use flambeau_core::{DType, Result, Tensor, manual_seed};
use flambeau_nn::optim::{Adam, Optimizer, Sgd};
use flambeau_nn::*;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A folder of its own for a test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("flambeau-nn-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn entries(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn train(net: &Linear, optimizer: &mut impl Optimizer) -> Result<()> {
    optimizer.zero_grad();
    net.forward(&Tensor::rand([4, 3])?)?
        .square()?
        .sum()?
        .backward()?;
    optimizer.step()
}

#[test]
fn training_goes_on_with_the_same_bits() -> Result<()> {
    let _alone = alone();
    let folder = Folder::new("resume");
    let path = folder.file("checkpoint.safetensors");
    manual_seed(1);
    let net = Linear::new(3, 2);
    let mut optimizer = Adam::new(net.parameters(), 0.01);
    for step in 0..10 {
        if step == 5 {
            Checkpoint::new()
                .model(&net)
                .optimizer("optimizer", &optimizer)
                .random_state()?
                .value("step", step)
                .save(&path)?;
        }
        train(&net, &mut optimizer)?;
    }
    let want = net.weight.to_vec::<f32>()?;

    manual_seed(99);
    let net = Linear::new(3, 2);
    let mut optimizer = Adam::new(net.parameters(), 0.5);
    let saved = Checkpoint::load(&path)?;
    assert_eq!(saved.get("step").and_then(|v| v.as_i64()), Some(5));
    saved.load_model(&net)?;
    saved.load_optimizer("optimizer", &mut optimizer)?;
    saved.restore_random_state()?;
    for _ in 5..10 {
        train(&net, &mut optimizer)?;
    }
    assert_eq!(net.weight.to_vec::<f32>()?, want);
    assert_eq!(folder.entries(), 1, "no temporary file is left");
    Ok(())
}

#[test]
fn every_type_comes_back() -> Result<()> {
    let folder = Folder::new("types");
    let path = folder.file("all.safetensors");
    let state: StateDict = DType::ALL
        .iter()
        .map(|d| Ok((d.name(), pattern(&[3, 2], 1)?.mul(100.0)?.to_dtype(*d)?)))
        .chain([
            Ok(("empty", Tensor::zeros([0, 3])?)),
            Ok(("scalar", Tensor::scalar(2.5f32)?)),
        ])
        .collect::<Result<_>>()?;
    state.save(&path)?;
    let back = StateDict::load(&path)?;
    assert_eq!(back.len(), state.len());
    for (name, t) in state.iter() {
        let other = back.get(name).unwrap();
        assert_eq!(
            (other.shape(), other.dtype()),
            (t.shape(), t.dtype()),
            "{name}"
        );
        assert_eq!(other.to_bytes()?, t.to_bytes()?, "{name}");
    }
    // A view is written as what it shows.
    let view: StateDict = [("t", pattern(&[3, 2], 1)?.t()?)].into_iter().collect();
    view.save(&path)?;
    assert_eq!(StateDict::load(&path)?.get("t").unwrap().shape(), [2, 3]);
    Ok(())
}

#[track_caller]
fn refuses<T>(result: Result<T>, texts: &[&str]) {
    let error = result.err().expect("an error").to_string();
    for text in texts {
        assert!(error.contains(text), "{error:?} does not say {text:?}");
    }
}

#[test]
fn damaged_files_are_errors() -> Result<()> {
    let _alone = alone();
    let folder = Folder::new("damaged");
    let path = folder.file("net.safetensors");
    let net = Linear::new(3, 2);
    net.state_dict().save(&path)?;
    let whole = fs::read(&path).unwrap();
    let file = "net.safetensors";
    for length in [0, 4, 8, 20, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        refuses(
            StateDict::load(&path),
            &[file, "truncated, damaged or of another format"],
        );
    }
    let mut longer = whole.clone();
    longer.push(0);
    fs::write(&path, &longer).unwrap();
    refuses(StateDict::load(&path), &[file]);
    let mut bent = whole.clone();
    bent[8] ^= 0x55;
    fs::write(&path, &bent).unwrap();
    refuses(StateDict::load(&path), &[file]);
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&path, &flipped).unwrap();
    refuses(StateDict::load(&path), &[file, "checksum"]);
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, &huge).unwrap();
    refuses(Checkpoint::load(&path), &[file]);
    fs::write(&path, b"PK\x03\x04 this is a zip file of something else").unwrap();
    refuses(Checkpoint::load(&path), &[file]);
    refuses(
        StateDict::load(folder.file("none")),
        &["none", "could not be read"],
    );
    Ok(())
}

#[test]
fn a_checkpoint_of_another_model_says_what_differs() -> Result<()> {
    let _alone = alone();
    let folder = Folder::new("other");
    let path = folder.file("lenet.safetensors");
    let small = Sequential::new((Linear::new(3, 2), Linear::new(2, 1)));
    let optimizer = Sgd::new(small.parameters(), 0.1);
    Checkpoint::new()
        .model(&small)
        .optimizer("optimizer", &optimizer)
        .save(&path)?;
    let saved = Checkpoint::load(&path)?;
    let net = Sequential::new((Linear::new(4, 2), ReLU::new(), Linear::new(2, 1)));
    refuses(
        saved.load_model(&net),
        &[
            "lenet.safetensors",
            "missing in the state dict (2): 2.weight, 2.bias",
            "unexpected in the state dict (2): 1.bias, 1.weight",
            "0.weight: [2, 3] in the state dict, [2, 4] in the module",
        ],
    );
    let mut adam = Adam::new(small.parameters(), 0.1);
    refuses(
        saved.load_optimizer("optimizer", &mut adam),
        &["lenet.safetensors", "SGD, not of Adam"],
    );
    refuses(
        saved.load_optimizer("other", &mut adam),
        &["there is no other in it"],
    );
    refuses(saved.restore_random_state(), &["no random state"]);
    Ok(())
}

#[test]
fn a_folder_that_is_not_there_is_an_error() -> Result<()> {
    let folder = Folder::new("missing");
    let state: StateDict = [("a", Tensor::ones([2])?)].into_iter().collect();
    refuses(
        state.save(folder.file("no/such/net.safetensors")),
        &["net.safetensors", "could not be written"],
    );
    Ok(())
}

/// The half of the next test that runs where a file may not grow beyond a few kilobytes.
#[test]
#[ignore = "run by a_full_disk_leaves_the_old_checkpoint"]
fn save_more_than_fits() -> Result<()> {
    let path = PathBuf::from(std::env::var_os("FLAMBEAU_TEST_FILE").unwrap());
    let state: StateDict = [("a", Tensor::ones([1 << 16])?)].into_iter().collect();
    refuses(state.save(&path), &["could not be written", "is untouched"]);
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_the_old_checkpoint() -> Result<()> {
    let folder = Folder::new("full");
    let path = folder.file("net.safetensors");
    let state: StateDict = [("a", Tensor::new([1.0f32, 2.0])?)].into_iter().collect();
    state.save(&path)?;
    // A file size limit stands for the full disk: writing fails half way.
    let me = std::env::current_exe().unwrap();
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" --exact checkpoint::save_more_than_fits --ignored"])
        .arg(me)
        .env("FLAMBEAU_TEST_FILE", &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(
        status.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert_eq!(
        StateDict::load(&path)?.get("a").unwrap().to_vec::<f32>()?,
        [1.0, 2.0]
    );
    assert_eq!(folder.entries(), 1, "no temporary file is left");
    Ok(())
}
