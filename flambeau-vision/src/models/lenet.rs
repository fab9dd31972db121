use flambeau_core::{Result, Tensor};
use flambeau_nn::{Conv2d, Forward, Linear, Module};

/// The tutorial's network for 32x32 pictures, after LeNet-5 (LeCun et al. 1998): two 5x5
/// convolutions, each with ReLU and 2x2 max pooling, and three linear layers.
///
/// Input `[batch, channels, 32, 32]`, output `[batch, classes]` logits.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, Module};
/// use flambeau_vision::models::LeNet;
/// let net = LeNet::new(3, 10);
/// assert_eq!(net.num_parameters(), 62_006);
/// assert_eq!(net.forward(&Tensor::zeros([4, 3, 32, 32])?)?.shape(), [4, 10]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Module)]
pub struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    /// With PyTorch's initial weights for the default generator's state.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::Forward;
    /// use flambeau_vision::models::LeNet;
    /// let net = LeNet::new(3, 10);
    /// assert_eq!(net.forward(&Tensor::zeros([2, 3, 32, 32])?)?.shape(), [2, 10]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn new(channels: usize, classes: usize) -> LeNet {
        LeNet {
            conv1: Conv2d::new(channels, 6, 5),
            conv2: Conv2d::new(6, 16, 5),
            fc1: Linear::new(16 * 5 * 5, 120),
            fc2: Linear::new(120, 84),
            fc3: Linear::new(84, classes),
        }
    }
}

impl Forward for LeNet {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(x)?.relu()?.max_pool2d(2)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?;
        let x = x.flatten(1, -1)?;
        let x = self.fc1.forward(&x)?.relu()?;
        let x = self.fc2.forward(&x)?.relu()?;
        self.fc3.forward(&x)
    }
}
