//! What every command does first: threads, device, pictures, network.

use crate::Failure;
use crate::args::{DataArgs, DatasetName, ModelName};
use flambeau::prelude::*;
use flambeau::vision::ErrorKind;
use flambeau::vision::datasets::Pictures;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;

/// What pixels are normalised with, as in the tutorial: to -1..1.
pub(crate) const MEAN: [f64; 3] = [0.5; 3];
pub(crate) const STD: [f64; 3] = [0.5; 3];

/// Sets the number of threads and checks the device.
pub(crate) fn prepare(threads: Option<usize>, device: Device) -> Result<(), Failure> {
    if let Some(n) = threads {
        flambeau_cpu::threads::set_num_threads(n);
    }
    device.check().map_err(|e| e.message().to_owned().into())
}

/// Training and test pictures, as 3x32x32 tensors.
pub(crate) struct Data {
    pub(crate) name: DatasetName,
    pub(crate) train: Pictures,
    pub(crate) test: Pictures,
}

/// The pictures that the options ask for. Where CIFAR is neither on disk nor to be had, says so and
/// gives the built-in sample, unless a folder was named.
pub(crate) fn data(args: &DataArgs, fallback: DatasetName) -> Result<Data, Failure> {
    let wanted = args.dataset.unwrap_or(fallback);
    if let Some(dir) = &args.data_dir {
        return Ok(load(wanted, dir)?);
    }
    let dir = Path::new("data");
    match load(wanted, dir) {
        Ok(data) => return Ok(data),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        // A damaged copy is the user's to mend: other pictures in its place would be a surprise.
        Err(e) => return Err(e.into()),
    }
    match download(wanted, dir).and_then(|()| Ok(load(wanted, dir)?)) {
        Ok(data) => Ok(data),
        Err(reason) => {
            complain!(
                "{} is not on disk and could not be downloaded ({}); going on with the built-in sample of Fashion-MNIST. \
                 Use --data-dir DIR for a copy on disk.",
                wanted.text(),
                crate::reason(&reason)
            );
            Ok(load(DatasetName::Sample, dir)?)
        }
    }
}

fn load(name: DatasetName, dir: &Path) -> flambeau::vision::Result<Data> {
    let (train, test) = match name {
        DatasetName::Cifar10 => (Cifar10::train(dir)?, Cifar10::test(dir)?),
        DatasetName::Cifar100 => (Cifar100::train(dir)?, Cifar100::test(dir)?),
        DatasetName::FashionMnist => (FashionMnist::train(dir)?, FashionMnist::test(dir)?),
        DatasetName::Sample => (FashionSample::train()?, FashionSample::test()?),
    };
    let normalised = || {
        Compose::new()
            .then(ToTensor)
            .then(Normalize::new(MEAN, STD))
    };
    Ok(Data {
        name,
        train: train.transform(normalised()),
        test: test.transform(normalised()),
    })
}

fn download(name: DatasetName, dir: &Path) -> Result<(), Failure> {
    let bar = ProgressBar::new(0).with_style(style(
        "downloading {bytes}/{total_bytes} [{bar:30}] {bytes_per_sec}, {eta} left",
    ));
    let progress = |done: u64, whole: Option<u64>| {
        if std::io::stderr().is_terminal() {
            bar.set_length(whole.unwrap_or(done));
            bar.set_position(done);
        }
    };
    let done = match name {
        DatasetName::Cifar10 => Cifar10::download(dir, progress),
        DatasetName::Cifar100 => Cifar100::download(dir, progress),
        DatasetName::FashionMnist => return Err("its four idx files have to be there".into()),
        DatasetName::Sample => Ok(()),
    };
    bar.finish_and_clear();
    Ok(done?)
}

/// A network of that name.
pub(crate) fn model(name: ModelName, classes: usize) -> LeNet {
    match name {
        ModelName::Lenet => LeNet::new(3, classes),
    }
}

/// A bar's look; the template is ours, so it parses.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
