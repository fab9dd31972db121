//! Deep learning in Rust with PyTorch's semantics: tensors, automatic differentiation, layers,
//! losses, optimizers, data loading and vision behind one name.
//!
//! `use flambeau::prelude::*` brings in what the examples below use. Functions return [`Result`]: an
//! error names the operation, the rule, the numbers that disagree and the line of the call.
//!
//! # Tensors
//!
//! A [`Tensor`] has a shape, an element type ([`DType`]) and a [`Device`]. Methods are PyTorch's; the
//! operators work too, and panic where a method returns an error.
//!
//! ```
//! use flambeau::prelude::*;
//! # fn main() -> Result<()> {
//! let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]])?; // or zeros, ones, arange, rand, ...
//! assert_eq!((x.shape(), x.dtype()), (&[2, 2][..], DType::F32));
//! let y = x.matmul(&x.t()?)? + 1.0;
//! assert_eq!(y.to_vec2::<f32>()?, [[6.0, 12.0], [12.0, 26.0]]);
//! assert_eq!(x.sum_dim(0, false)?.to_vec::<f32>()?, [4.0, 6.0]);
//! assert_eq!(x.i((.., 1))?.to_vec::<f32>()?, [2.0, 4.0]); // x[:, 1]
//! // Views share memory; a method whose name ends in _ writes into it.
//! x.view([4])?.add_(10)?;
//! assert_eq!(x.max()?.item::<f32>()?, 14.0);
//! let error = x.matmul(&Tensor::ones([3, 2])?).unwrap_err().to_string();
//! assert!(error.starts_with("matmul: "), "{error}");
//! # Ok(())
//! # }
//! ```
//!
//! # Gradients
//!
//! Operations on tensors that require gradients are recorded as the program runs;
//! [`backward`](Tensor::backward) walks back and adds into [`grad`](Tensor::grad). More is in
//! [`autograd`].
//!
//! ```
//! use flambeau::prelude::*;
//! # fn main() -> Result<()> {
//! let w = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
//! let loss = w.square()?.sum()?;
//! loss.backward()?;
//! assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [2.0, -4.0]);
//! // Without a record: evaluation, and changes by hand.
//! no_grad(|| w.sub_(w.grad().unwrap().mul(0.1)?))?;
//! assert!((w.to_vec::<f32>()?[0] - 0.8).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```
//!
//! # A network, and its training
//!
//! A network is a struct of layers that derives [`Module`](nn::Module), with a `forward` of any form.
//! The derive finds parameters, moves and saves them, and switches between training and evaluation.
//! After [`manual_seed`] the initial weights are PyTorch's.
//!
//! ```standalone_crate
//! use flambeau::prelude::*;
//!
//! #[derive(Module)]
//! struct Net { hidden: Linear, output: Linear }
//!
//! impl Net {
//!     fn forward(&self, x: &Tensor) -> Result<Tensor> {
//!         self.output.forward(&self.hidden.forward(x)?.relu()?)
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! manual_seed(0);
//! let net = Net { hidden: Linear::new(2, 16), output: Linear::new(16, 1) };
//! assert_eq!(net.num_parameters(), 2 * 16 + 16 + 16 + 1);
//! let criterion = MSELoss::new();
//! let mut optimizer = Sgd::new(net.parameters(), 0.1).momentum(0.9);
//! let x = Tensor::new([[0.0f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])?;
//! let y = Tensor::new([[0.0f32], [1.0], [1.0], [0.0]])?;
//! for _ in 0..300 {
//!     optimizer.zero_grad();
//!     let loss = criterion.forward(&net.forward(&x)?, &y)?;
//!     loss.backward()?;
//!     optimizer.step()?;
//! }
//! assert!(criterion.forward(&net.forward(&x)?, &y)?.item::<f32>()? < 0.05);
//! # Ok(())
//! # }
//! ```
//!
//! Layers in a row need no struct: `Sequential::new((Linear::new(2, 16), ReLU::new(), Linear::new(16,
//! 1)))`.
//!
//! # Data
//!
//! A [`Dataset`](data::Dataset) gives samples by index, a [`DataLoader`](data::DataLoader) batches of
//! them, in PyTorch's order for the same seed, with threads for workers. Pictures pass
//! [transforms](vision::transforms) on the way.
//!
//! ```
//! use flambeau::prelude::*;
//! # fn main() -> Result<()> {
//! // 1,000 pictures that the program carries. Cifar10::train("./data") reads CIFAR-10 from disk,
//! // where Cifar10::download puts it.
//! let transform = Compose::new().then(ToTensor).then(Normalize::new([0.5; 3], [0.5; 3]));
//! let set = FashionSample::test()?.transform(transform);
//! let loader = DataLoader::new(set).batch_size(64).shuffle(true).num_workers(2);
//! let mut seen = 0;
//! for batch in &loader {
//!     let (images, labels) = batch?;
//!     assert_eq!(images.shape()[1..], [3, 32, 32]);
//!     seen += labels.numel();
//! }
//! assert_eq!(seen, 1000);
//! // Tensors in memory, and a dataset of one's own made of another.
//! let squares = TensorDataset::new((Tensor::arange(0, 4, 1)?, Tensor::arange(0, 4, 1)?.square()?))?;
//! let loader = DataLoader::new(squares.map(|(x, y), _| Ok((x.add(&y)?, y)))).batch_size(4);
//! let (sums, _) = loader.iter().next().unwrap()?;
//! assert_eq!(sums.to_vec::<i64>()?, [0, 2, 6, 12]);
//! # Ok(())
//! # }
//! ```
//!
//! # Evaluation, saving, going on
//!
//! ```
//! use flambeau::prelude::*;
//! # fn main() -> Result<()> {
//! # let path = std::env::temp_dir().join(format!("{}-front.safetensors", std::process::id()));
//! let net = Sequential::new((Linear::new(4, 8), Dropout::new(0.5), Linear::new(8, 3)));
//! net.eval(); // no dropout; train() switches back
//! let x = Tensor::rand([2, 4])?;
//! let before = no_grad(|| net.forward(&x))?;
//! // PyTorch reads the file with safetensors.torch.load_file. nn::Checkpoint adds the optimizer,
//! // epochs and the random generator.
//! net.state_dict().save(&path)?;
//! let other = Sequential::new((Linear::new(4, 8), Dropout::new(0.5), Linear::new(8, 3)));
//! other.load_state_dict(&StateDict::load(&path)?, true)?;
//! other.eval();
//! assert!(no_grad(|| other.forward(&x))?.equal(&before)?);
//! # std::fs::remove_file(&path).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | | |
//! | --- | --- |
//! | [`Tensor`], [`DType`], [`Device`], [`Error`] | the values, and every operation as a method |
//! | [`autograd`] | gradients beyond `backward()`: `grad`, hooks, modes, checkpointing |
//! | [`nn`] | `Module`, layers, losses, containers, [`functional`](nn::functional), [`init`](nn::init), checkpoints |
//! | [`optim`] | optimizers, gradient clipping, [`lr_scheduler`](optim::lr_scheduler) |
//! | [`data`] | datasets, samplers, the `DataLoader` |
//! | [`vision`] | CIFAR, Fashion-MNIST, folders of pictures; transforms, models, grids |
//! | [`amp`] | `autocast` to `bf16` or `f16`, `GradScaler` |
//! | [`checkpoint`] | less memory for more arithmetic |
//! | [`random`], [`memory`] | the generator's state; what the allocator holds |
//! | [`set_num_threads`], [`num_threads`] | threads of an operation; results do not depend on them |
//!
//! # From PyTorch
//!
//! | Python | Rust |
//! | --- | --- |
//! | `torch.tensor([[1., 2.]])` | `Tensor::new([[1.0f32, 2.0]])?` |
//! | `x[0, 1:3]`, `x[mask] = 0` | `x.i((0, 1..3))?`, `x.set(&mask, 0)?` |
//! | `x.sum(dim=1, keepdim=True)` | `x.sum_dim(1, true)?`; `x.sum()?` of all |
//! | `x.max(dim=1)`, `x.max()` | `x.max_dim(1, false)?`, `x.max()?` |
//! | `x.clone()` | `x.copy()?` (Rust's `clone` copies the handle) |
//! | `x.float()`, `x.to(device)` | `x.to_dtype(DType::F32)?`, `x.to(device)?` |
//! | `torch.add(x, y, alpha=2)` | `x.add_scaled(&y, 2)?` |
//! | `torch.where(c, a, b)` | `c.where_(&a, &b)?` |
//! | `torch.zeros(2, dtype=torch.long)` | `Tensor::zeros_with([2], DType::I64)?` |
//! | `with torch.no_grad(): ...` | <code>no_grad(\|\| ...)</code> |
//! | `nn.Conv2d(3, 6, 5, bias=False)` | `Conv2d::new(3, 6, 5).bias(false)` |
//! | `net(x)` | `net.forward(&x)?` |
//! | `net.train()`, `net.eval()` | `net.train()`, `net.eval()` |
//!
//! # The tutorial
//!
//! Training on pictures is PyTorch's tutorial line for line; `examples/tutorial.rs` follows all of
//! its sections.
//!
//! ```no_run
//! use flambeau::prelude::*;
//!
//! #[derive(Module)]
//! struct Net { conv1: Conv2d, conv2: Conv2d, fc1: Linear, fc2: Linear, fc3: Linear }
//!
//! impl Net {
//!     fn new() -> Self {
//!         Self {
//!             conv1: Conv2d::new(3, 6, 5),
//!             conv2: Conv2d::new(6, 16, 5),
//!             fc1: Linear::new(16 * 5 * 5, 120),
//!             fc2: Linear::new(120, 84),
//!             fc3: Linear::new(84, 10),
//!         }
//!     }
//!
//!     fn forward(&self, x: &Tensor) -> Result<Tensor> {
//!         let x = self.conv1.forward(x)?.relu()?.max_pool2d(2)?;
//!         let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?;
//!         let x = x.view([-1, 16 * 5 * 5])?;
//!         let x = self.fc1.forward(&x)?.relu()?;
//!         let x = self.fc2.forward(&x)?.relu()?;
//!         self.fc3.forward(&x)
//!     }
//! }
//!
//! fn main() -> Result<()> {
//!     let device = Device::cuda_if_available(0);
//!     let transform = Compose::new().then(ToTensor).then(Normalize::new([0.5; 3], [0.5; 3]));
//!     let trainset = Cifar10::train("./data")?.transform(transform);
//!     let trainloader = DataLoader::new(trainset).batch_size(4).shuffle(true).num_workers(2);
//!
//!     let net = Net::new().to(device)?;
//!     println!("{net}");
//!     let criterion = CrossEntropyLoss::new();
//!     let mut optimizer = Sgd::new(net.parameters(), 0.001).momentum(0.9);
//!
//!     for epoch in 0..2 {
//!         for batch in &trainloader {
//!             let (inputs, labels) = batch?.to(device)?;
//!             optimizer.zero_grad();
//!             let loss = criterion.forward(&net.forward(&inputs)?, &labels)?;
//!             loss.backward()?;
//!             optimizer.step()?;
//!         }
//!         println!("epoch {epoch} done");
//!     }
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

pub use flambeau_core::*;

/// Modules, layers, losses and checkpoints ([`torch.nn`](https://pytorch.org/docs/stable/nn.html)).
///
/// | | |
/// | --- | --- |
/// | the tree | [`Module`](nn::Module) (derive it), [`Forward`](nn::Forward), [`Parameter`](nn::Parameter), [`Buffer`](nn::Buffer), [`StateDict`](nn::StateDict), [`Checkpoint`](nn::Checkpoint) |
/// | containers | [`Sequential`](nn::Sequential), [`ModuleList`](nn::ModuleList), `Vec`, arrays, `Option`, `Box`, `Arc` |
/// | linear, embedding | [`Linear`](nn::Linear), [`Bilinear`](nn::Bilinear), [`Identity`](nn::Identity), [`Embedding`](nn::Embedding) |
/// | convolution | [`Conv1d`](nn::Conv1d), [`Conv2d`](nn::Conv2d), [`Conv3d`](nn::Conv3d), [`ConvTranspose2d`](nn::ConvTranspose2d) and its kin |
/// | pooling | [`MaxPool2d`](nn::MaxPool2d), [`AvgPool2d`](nn::AvgPool2d), [`AdaptiveAvgPool2d`](nn::AdaptiveAvgPool2d) and their kin |
/// | normalisation | [`BatchNorm2d`](nn::BatchNorm2d), [`LayerNorm`](nn::LayerNorm), [`GroupNorm`](nn::GroupNorm), [`InstanceNorm2d`](nn::InstanceNorm2d) and their kin |
/// | activations | [`ReLU`](nn::ReLU), [`GELU`](nn::GELU), [`SiLU`](nn::SiLU), [`Tanh`](nn::Tanh), [`Softmax`](nn::Softmax), [`PReLU`](nn::PReLU) and more |
/// | recurrence, attention | [`LSTM`](nn::LSTM), [`GRU`](nn::GRU), [`RNN`](nn::RNN), their cells; [`MultiheadAttention`](nn::MultiheadAttention), [`TransformerEncoder`](nn::TransformerEncoder) |
/// | dropout, padding, shape | [`Dropout`](nn::Dropout), [`Dropout2d`](nn::Dropout2d), [`ZeroPad2d`](nn::ZeroPad2d), [`ReflectionPad2d`](nn::ReflectionPad2d), [`Flatten`](nn::Flatten), [`Unflatten`](nn::Unflatten) |
/// | losses | [`CrossEntropyLoss`](nn::CrossEntropyLoss), [`NLLLoss`](nn::NLLLoss), [`MSELoss`](nn::MSELoss), [`L1Loss`](nn::L1Loss), [`HuberLoss`](nn::HuberLoss), [`BCEWithLogitsLoss`](nn::BCEWithLogitsLoss), [`KLDivLoss`](nn::KLDivLoss) and more |
/// | the same as functions | [`functional`](nn::functional), initial values in [`init`](nn::init) |
///
/// ```
/// use flambeau::prelude::*;
/// let net = Sequential::new((Conv2d::new(1, 4, 3), ReLU::new(), Flatten::new(), Linear::new(16, 2)));
/// assert_eq!(net.forward(&Tensor::zeros([5, 1, 4, 4])?)?.shape(), [5, 2]);
/// # Ok::<(), flambeau::Error>(())
/// ```
pub mod nn {
    pub use flambeau_nn::*;
}

/// Optimizers ([`torch.optim`](https://pytorch.org/docs/stable/optim.html)) and learning-rate
/// schedules.
///
/// | | |
/// | --- | --- |
/// | optimizers | [`Sgd`](optim::Sgd), [`Adam`](optim::Adam), [`AdamW`](optim::AdamW), [`NAdam`](optim::NAdam), [`RAdam`](optim::RAdam), [`Adamax`](optim::Adamax), [`Adagrad`](optim::Adagrad), [`Adadelta`](optim::Adadelta), [`RMSprop`](optim::RMSprop) |
/// | what they share | [`Optimizer`](optim::Optimizer) (`step`, `zero_grad`, state), [`Optim`](optim::Optim) (groups) |
/// | clipping | [`clip_grad_norm_`](optim::clip_grad_norm_), [`clip_grad_value_`](optim::clip_grad_value_) |
/// | schedules | [`lr_scheduler`](optim::lr_scheduler): steps, cosines, warm-up, one cycle, plateaus |
///
/// ```
/// use flambeau::prelude::*;
/// let w = Tensor::new([1.0f32])?.requires_grad_(true)?;
/// let mut optimizer = AdamW::new([&w], 1e-2).weight_decay(0.0);
/// let mut scheduler = CosineAnnealingLR::new(&optimizer, 10);
/// w.square()?.sum()?.backward()?;
/// optimizer.step()?;
/// scheduler.step();
/// assert!(w.item::<f32>()? < 1.0 && optimizer.lr() < 1e-2);
/// # Ok::<(), flambeau::Error>(())
/// ```
pub mod optim {
    pub use flambeau_nn::lr_scheduler;
    pub use flambeau_nn::optim::*;
}

/// Mixed precision ([`torch.amp`](https://pytorch.org/docs/stable/amp.html)).
///
/// - [`autocast`](autocast()) runs a function in which convolutions, products and the layers made of
///   them compute in `bf16` or `f16`; [`Autocast`] has its options.
/// - [`GradScaler`](amp::GradScaler) keeps small gradients of `f16` from vanishing; `bf16` needs none.
/// - [`Composite`](amp::Composite) and [`Cast`](amp::Cast) say how a function of several operations
///   takes part.
///
/// ```
/// use flambeau::prelude::*;
/// let net = Linear::new(4, 2);
/// let y = autocast(DType::BF16, || net.forward(&Tensor::ones([1, 4])?))?;
/// assert_eq!((y.dtype(), net.weight.dtype()), (DType::BF16, DType::F32));
/// # Ok::<(), flambeau::Error>(())
/// ```
pub mod amp {
    pub use flambeau_core::autocast::*;
    pub use flambeau_nn::amp::*;
}

/// Less memory for more arithmetic
/// ([`torch.utils.checkpoint`](https://pytorch.org/docs/stable/checkpoint.html)).
///
/// - [`checkpoint`](checkpoint::checkpoint()) keeps a function's inputs instead of what it computed, and
///   runs it again in the backward pass; [`checkpoint_with`](checkpoint::checkpoint_with) takes
///   [`CheckpointOptions`](checkpoint::CheckpointOptions).
/// - [`checkpoint_sequential`](checkpoint::checkpoint_sequential) does so for a `Sequential` in segments.
pub mod checkpoint {
    pub use flambeau_core::autograd::{CheckpointOptions, checkpoint, checkpoint_with};
    pub use flambeau_nn::checkpoint_sequential;
}

/// Datasets, samplers and the `DataLoader`
/// ([`torch.utils.data`](https://pytorch.org/docs/stable/data.html)).
///
/// | | |
/// | --- | --- |
/// | datasets | [`Dataset`](data::Dataset), [`TensorDataset`](data::TensorDataset), [`ListDataset`](data::ListDataset), [`Map`](data::Map) |
/// | parts and sums | [`Subset`](data::Subset), [`random_split`](data::random_split), [`ConcatDataset`](data::ConcatDataset) |
/// | orders | [`Sampler`](data::Sampler), [`SequentialSampler`](data::SequentialSampler), [`RandomSampler`](data::RandomSampler), [`SubsetRandomSampler`](data::SubsetRandomSampler), [`WeightedRandomSampler`](data::WeightedRandomSampler), [`BatchSampler`](data::BatchSampler) |
/// | batches | [`DataLoader`](data::DataLoader), [`Collate`](data::Collate), [`ToDevice`](data::ToDevice) |
/// | random decisions of a sample | [`SampleRng`](data::SampleRng); of an epoch, [`SharedGenerator`](data::SharedGenerator) |
///
/// ```
/// use flambeau::{data::{DataLoader, ListDataset}, prelude::*};
/// let loader = DataLoader::new(ListDataset::from_iter(0..5i64)).batch_size(2);
/// let sizes = loader.iter().map(|b| Ok(b?.numel())).collect::<Result<Vec<_>>>()?;
/// assert_eq!(sizes, [2, 2, 1]);
/// # Ok::<(), Error>(())
/// ```
pub mod data {
    pub use flambeau_data::*;
}

/// Vision datasets, transforms, models and pictures
/// ([`torchvision`](https://pytorch.org/vision/stable/)).
///
/// | | |
/// | --- | --- |
/// | [`datasets`](vision::datasets) | CIFAR-10 and -100, Fashion-MNIST (a sample is in the program), folders of pictures |
/// | [`transforms`](vision::transforms) | from picture to tensor, crops, flips, sizes, normalisation |
/// | [`models`](vision::models) | LeNet, ResNet, DenseNet |
/// | [`utils`](vision::utils) | grids of pictures, as tensors or files |
/// | [`files`](vision::files) | formats, downloads, charts: plain bytes |
/// | [`Image`](vision::Image) | a picture on its way to a tensor |
///
/// ```
/// use flambeau::prelude::*;
/// let net = resnet18(10);
/// assert_eq!(net.num_parameters(), 11_181_642);
/// ```
pub mod vision {
    pub use flambeau_vision::*;
}

/// What a training program uses, in one import: the tensor with its types and modes, all of [`nn`],
/// `Sgd`, `Adam`, `AdamW` and two schedules, `DataLoader` and the common datasets, vision's datasets,
/// models and usual transforms. Other optimizers, samplers and transforms are in [`optim`], [`data`]
/// and [`vision`].
pub mod prelude {
    pub use flambeau_core::{
        AttentionOptions, Autocast, ClassLoss, ConvOptions, Create, DType, Device, Ellipsis, Error,
        MemoryFormat, NewAxis, Operand, PoolOptions, Reduction, Result, Scalar, Tensor, autocast,
        autograd, autograd::Backward, enable_grad, inference_mode, manual_seed, no_grad, s,
        set_grad_enabled,
    };
    pub use flambeau_data::{DataLoader, Dataset, Subset, TensorDataset, ToDevice};
    pub use flambeau_nn::lr_scheduler::{CosineAnnealingLR, LrScheduler, StepLR};
    pub use flambeau_nn::optim::{Adam, AdamW, Optimizer, Sgd};
    pub use flambeau_nn::*;
    pub use flambeau_vision::datasets::*;
    pub use flambeau_vision::models::*;
    pub use flambeau_vision::transforms::{
        Compose, Normalize, RandomCrop, RandomHorizontalFlip, Resize, ToTensor, Transform,
    };
    pub use flambeau_vision::utils::{Grid, make_grid, save_image};
}
