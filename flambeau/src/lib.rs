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
        ClassLoss, ConvOptions, Create, DType, Device, Error, Operand, PoolOptions, Reduction,
        Result, Scalar, Tensor, autograd, enable_grad, inference_mode, manual_seed, no_grad,
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
    pub use flambeau_vision::utils::{make_grid, save_image};
}
