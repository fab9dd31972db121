//! Deep learning in Rust with PyTorch's semantics: tensors, automatic differentiation, layers,
//! losses, optimizers, data loading and vision behind one name.
//!
//! ```
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
//! let mut optimizer = Sgd::new(net.parameters(), 0.1).momentum(0.9);
//! let x = Tensor::new([[0.0f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])?;
//! let y = Tensor::new([[0.0f32], [1.0], [1.0], [0.0]])?;
//! for _ in 0..300 {
//!     optimizer.zero_grad();
//!     let loss = MSELoss::new().forward(&net.forward(&x)?, &y)?;
//!     loss.backward()?;
//!     optimizer.step()?;
//! }
//! assert!(MSELoss::new().forward(&net.forward(&x)?, &y)?.item::<f32>()? < 0.05);
//! # Ok(())
//! # }
//! ```
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

/// Modules, layers, losses and checkpoints (`torch.nn`).
pub mod nn {
    pub use flambeau_nn::*;
}

/// Optimizers (`torch.optim`) and, below, learning-rate schedules.
pub mod optim {
    pub use flambeau_nn::lr_scheduler;
    pub use flambeau_nn::optim::*;
}

/// Mixed precision (`torch.amp`): gradient scaling, with [`autocast`](autocast()).
pub mod amp {
    pub use flambeau_core::autocast::*;
    pub use flambeau_nn::amp::*;
}

/// Less memory for more arithmetic (`torch.utils.checkpoint`).
pub mod checkpoint {
    pub use flambeau_core::autograd::{CheckpointOptions, checkpoint, checkpoint_with};
    pub use flambeau_nn::checkpoint_sequential;
}

/// Datasets, samplers and the `DataLoader` (`torch.utils.data`).
pub mod data {
    pub use flambeau_data::*;
}

/// Vision datasets, transforms, models and pictures (`torchvision`).
pub mod vision {
    pub use flambeau_vision::*;
}

/// What a training program uses, in one import.
pub mod prelude {
    pub use flambeau_core::{
        AttentionOptions, Autocast, ClassLoss, ConvOptions, Create, DType, Device, Ellipsis, Error,
        NewAxis, Operand, PoolOptions, Reduction, Result, Scalar, Tensor, autocast, autograd,
        autograd::Backward, enable_grad, inference_mode, manual_seed, no_grad, s, set_grad_enabled,
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
