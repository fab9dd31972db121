//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use flambeau::Device;
use std::path::PathBuf;

/// Deep learning with PyTorch's semantics, in Rust.
#[derive(Parser)]
#[command(name = "flambeau", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Train a network and test it; the defaults are the tutorial's.
    Train(TrainArgs),
    /// Test a trained network: accuracy, overall and for each class.
    Test(TestArgs),
    /// Name what is on pictures (PNG or JPEG).
    Predict(PredictArgs),
    /// Say what flambeau finds on this machine.
    Doctor,
}

/// The sets of pictures that the command knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatasetName {
    /// 50,000 and 10,000 pictures of ten classes.
    Cifar10,
    /// The same number, of a hundred classes.
    Cifar100,
    /// Fashion-MNIST from its own files.
    FashionMnist,
    /// 6,000 and 1,000 pictures of Fashion-MNIST that the program carries.
    Sample,
}

impl DatasetName {
    pub(crate) fn text(self) -> &'static str {
        match self {
            DatasetName::Cifar10 => "cifar10",
            DatasetName::Cifar100 => "cifar100",
            DatasetName::FashionMnist => "fashion-mnist",
            DatasetName::Sample => "sample",
        }
    }
}

/// The networks that the command knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelName {
    /// The tutorial's: two convolutions, three linear layers.
    Lenet,
}

impl ModelName {
    pub(crate) fn text(self) -> &'static str {
        match self {
            ModelName::Lenet => "lenet",
        }
    }
}

/// Where pictures come from.
#[derive(Args, Clone)]
pub(crate) struct DataArgs {
    /// Folder that holds the data set's official files (for CIFAR-10: cifar-10-batches-bin,
    /// cifar-10-batches-py or an archive). Without it ./data is searched, then the data set is
    /// downloaded to it; without a network the built-in sample is used.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Data set.
    #[arg(long, value_enum)]
    pub(crate) dataset: Option<DatasetName>,
}

#[derive(Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Network.
    #[arg(long, value_enum, default_value = "lenet")]
    pub(crate) model: ModelName,
    /// Passes over the training pictures.
    #[arg(long, default_value_t = 2)]
    pub(crate) epochs: usize,
    /// Pictures in a step.
    #[arg(long, default_value_t = 4, value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Learning rate of stochastic gradient descent.
    #[arg(long, default_value_t = 0.001, value_parser = rate, allow_negative_numbers = true)]
    pub(crate) lr: f64,
    /// Momentum.
    #[arg(long, default_value_t = 0.9, value_parser = rate, allow_negative_numbers = true)]
    pub(crate) momentum: f64,
    /// Threads that load pictures; 0 loads them in the training thread.
    #[arg(long, default_value_t = 2)]
    pub(crate) workers: usize,
    /// Threads that compute; the default is the number of processors.
    #[arg(long, value_parser = positive)]
    pub(crate) threads: Option<usize>,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub(crate) device: Device,
    /// On a CUDA device, captures a step into a graph and replays it: for small networks, whose cost
    /// is launching kernels.
    #[arg(long)]
    pub(crate) graph: bool,
    /// Fixes every random choice.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Folder for the checkpoint, the curves and the pictures.
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub(crate) out: PathBuf,
    /// Go on from a checkpoint: a file, or a folder that training wrote to.
    #[arg(long, value_name = "PATH")]
    pub(crate) resume: Option<PathBuf>,
    /// Write a summary as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// Steps between two checkpoints within an epoch.
    #[arg(long, value_name = "STEPS", default_value_t = 5000, value_parser = positive, hide = true)]
    pub(crate) checkpoint_every: usize,
}

#[derive(Args)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Checkpoint: a file, or a folder that training wrote to.
    #[arg(long, value_name = "PATH", default_value = "out")]
    pub(crate) checkpoint: PathBuf,
    /// Pictures in a batch.
    #[arg(long, default_value_t = 100, value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Threads that compute; the default is the number of processors.
    #[arg(long, value_parser = positive)]
    pub(crate) threads: Option<usize>,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub(crate) device: Device,
    /// Write a summary as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PredictArgs {
    /// Pictures, PNG or JPEG of any size.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    /// Checkpoint: a file, or a folder that training wrote to.
    #[arg(long, value_name = "PATH", default_value = "out")]
    pub(crate) checkpoint: PathBuf,
    /// Classes to name.
    #[arg(long, default_value_t = 3, value_parser = positive)]
    pub(crate) top: usize,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub(crate) device: Device,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(n) => Ok(n),
        Err(_) => Err(format!("{text:?} is not a whole number")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        Ok(_) => Err("it must be a finite number, at least 0".into()),
        Err(_) => Err(format!("{text:?} is not a number")),
    }
}

fn device(text: &str) -> Result<Device, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a device; expected cpu, cuda or cuda:N"))
}
