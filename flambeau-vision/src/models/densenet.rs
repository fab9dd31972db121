use flambeau_core::{Result, Tensor};
use flambeau_nn::init::{FanMode, Nonlinearity, kaiming_normal_, zeros_};
use flambeau_nn::{
    AvgPool2d, BatchNorm2d, Conv2d, Forward, Item, ItemMut, Linear, MaxPool2d, Module, ReLU,
    Sequential, Visit, VisitMut,
};

fn conv(from: usize, to: usize, kernel: usize) -> Conv2d {
    let conv = Conv2d::new(from, to, kernel).bias(false);
    conv.padding(kernel / 2)
}

fn relu() -> ReLU {
    ReLU::new().inplace(true)
}

/// What a layer of a block adds: a 1x1 and a 3x3 convolution of all that came before.
#[derive(Module)]
#[module(name = "_DenseLayer")]
struct DenseLayer {
    norm1: BatchNorm2d,
    relu1: ReLU,
    conv1: Conv2d,
    norm2: BatchNorm2d,
    relu2: ReLU,
    conv2: Conv2d,
    drop_rate: f64,
}

impl DenseLayer {
    fn new(from: usize, options: &DenseNetOptions) -> DenseLayer {
        let width = options.bn_size * options.growth_rate;
        DenseLayer {
            norm1: BatchNorm2d::new(from),
            relu1: relu(),
            conv1: conv(from, width, 1),
            norm2: BatchNorm2d::new(width),
            relu2: relu(),
            conv2: conv(width, options.growth_rate, 3),
            drop_rate: options.drop_rate,
        }
    }

    #[track_caller]
    fn forward(&self, features: &[Tensor]) -> Result<Tensor> {
        let x = self.norm1.forward(&Tensor::cat(features, 1)?)?;
        let x = self.conv1.forward(&self.relu1.forward(&x)?)?;
        let x = self.relu2.forward(&self.norm2.forward(&x)?)?;
        let x = self.conv2.forward(&x)?;
        x.dropout(self.drop_rate, self.drop_rate > 0.0 && self.is_training())
    }
}

/// Layers that see the outputs of all before them.
struct DenseBlock {
    layers: Vec<(String, DenseLayer)>,
}

impl DenseBlock {
    fn new(layers: usize, from: usize, options: &DenseNetOptions) -> DenseBlock {
        let layer = |i: usize| {
            let layer = DenseLayer::new(from + i * options.growth_rate, options);
            (format!("denselayer{}", i + 1), layer)
        };
        DenseBlock {
            layers: (0..layers).map(layer).collect(),
        }
    }
}

impl Module for DenseBlock {
    fn type_name(&self) -> &'static str {
        "_DenseBlock"
    }
    fn as_module(&self) -> &dyn Module {
        self
    }
    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        for (name, layer) in &self.layers {
            visit(name, Item::Module(layer));
        }
    }
    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        let mut layers = self.layers.iter_mut();
        layers.try_for_each(|(_, layer)| visit(ItemMut::Module(layer)))
    }
}

impl Forward for DenseBlock {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut features = vec![x.clone()];
        for (_, layer) in &self.layers {
            features.push(layer.forward(&features)?);
        }
        Tensor::cat(&features, 1)
    }
}

/// Between two blocks: half the planes, at half the size.
#[derive(Module)]
#[module(name = "_Transition")]
struct Transition {
    norm: BatchNorm2d,
    relu: ReLU,
    conv: Conv2d,
    pool: AvgPool2d,
}

impl Forward for Transition {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.relu.forward(&self.norm.forward(x)?)?;
        self.pool.forward(&self.conv.forward(&x)?)
    }
}

/// The arguments of torchvision's `DenseNet`; the default is DenseNet-121 for ImageNet's 1000 classes.
///
/// ```
/// use flambeau_nn::Module;
/// use flambeau_vision::models::{DenseNet, DenseNetOptions};
/// let small = DenseNetOptions { block_config: vec![1], num_classes: 10, ..Default::default() };
/// assert_eq!(DenseNet::new(&small).num_parameters(), 56138);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DenseNetOptions {
    /// Planes that each layer adds (32).
    pub growth_rate: usize,
    /// How many layers each block has (`[6, 12, 24, 16]`).
    pub block_config: Vec<usize>,
    /// Planes of the stem (64).
    pub num_init_features: usize,
    /// The width inside a layer, as a multiple of what it adds (4).
    pub bn_size: usize,
    /// The probability of a zero in what a layer adds, while training (0).
    pub drop_rate: f64,
    /// Classes (1000).
    pub num_classes: usize,
}

impl Default for DenseNetOptions {
    fn default() -> DenseNetOptions {
        DenseNetOptions {
            growth_rate: 32,
            block_config: vec![6, 12, 24, 16],
            num_init_features: 64,
            bn_size: 4,
            drop_rate: 0.0,
            num_classes: 1000,
        }
    }
}

/// Densely connected network (Huang et al., arXiv 1608.06993; `torchvision.models.DenseNet`), made by
/// [`densenet121`] and so on.
///
/// Input `[batch, 3, height, width]`, output `[batch, classes]` logits.
///
/// ```
/// use flambeau_core::{Tensor, no_grad};
/// use flambeau_nn::{Forward, Module};
/// use flambeau_vision::models::densenet121;
/// let net = densenet121(10);
/// assert_eq!(net.num_parameters(), 6_964_106);
/// net.eval();
/// let logits = no_grad(|| net.forward(&Tensor::zeros([1, 3, 32, 32])?))?;
/// assert_eq!(logits.shape(), [1, 10]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Module)]
pub struct DenseNet {
    /// The stem `conv0`, `norm0`, `relu0`, `pool0`; blocks and transitions; `norm5`.
    pub features: Sequential,
    /// From the last block's planes to the classes.
    pub classifier: Box<dyn Forward>,
}

impl DenseNet {
    /// With torchvision's initial weights for the default generator's state: normal by
    /// [`kaiming_normal_`] over the fan in for convolutions, ones and zeros for normalisations.
    pub fn new(options: &DenseNetOptions) -> DenseNet {
        let mut planes = options.num_init_features;
        let stem = Conv2d::new(3, planes, 7).stride(2).padding(3).bias(false);
        let mut features = Sequential::default()
            .add_named("conv0", stem)
            .add_named("norm0", BatchNorm2d::new(planes))
            .add_named("relu0", relu())
            .add_named("pool0", MaxPool2d::new(3).stride(2).padding(1));
        for (i, &layers) in options.block_config.iter().enumerate() {
            let block = DenseBlock::new(layers, planes, options);
            features = features.add_named(format!("denseblock{}", i + 1), block);
            planes += layers * options.growth_rate;
            if i + 1 < options.block_config.len() {
                let transition = Transition {
                    norm: BatchNorm2d::new(planes),
                    relu: relu(),
                    conv: conv(planes, planes / 2, 1),
                    pool: AvgPool2d::new(2).stride(2),
                };
                features = features.add_named(format!("transition{}", i + 1), transition);
                planes /= 2;
            }
        }
        let net = DenseNet {
            features: features.add_named("norm5", BatchNorm2d::new(planes)),
            classifier: Box::new(Linear::new(planes, options.num_classes)),
        };
        // A value that could not be made is its layer's error, at the first call.
        for module in net.modules() {
            if let Some(conv) = module.downcast_ref::<Conv2d>() {
                let _ = kaiming_normal_(&conv.weight, FanMode::FanIn, Nonlinearity::ReLU);
            } else if let Some(bias) = module
                .downcast_ref::<Linear>()
                .and_then(|l| l.bias.as_ref())
            {
                let _ = zeros_(bias);
            }
        }
        net
    }
}

impl Forward for DenseNet {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.features.forward(x)?.relu_()?;
        let x = x.adaptive_avg_pool2d([1, 1])?.flatten(1, -1)?;
        self.classifier.forward(&x)
    }
}

macro_rules! densenets {
    ($($(#[$doc:meta])* $name:ident = $growth:literal, $blocks:expr, $init:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name(num_classes: usize) -> DenseNet {
            DenseNet::new(&DenseNetOptions {
                growth_rate: $growth,
                block_config: $blocks.to_vec(),
                num_init_features: $init,
                num_classes,
                ..DenseNetOptions::default()
            })
        }
    )*};
}

densenets! {
    /// DenseNet-121
    /// ([`torchvision.models.densenet121`](https://pytorch.org/vision/stable/models/generated/torchvision.models.densenet121.html), whose default is 1000 classes).
    densenet121 = 32, [6, 12, 24, 16], 64;
    /// DenseNet-161
    /// ([`torchvision.models.densenet161`](https://pytorch.org/vision/stable/models/generated/torchvision.models.densenet161.html)).
    densenet161 = 48, [6, 12, 36, 24], 96;
    /// DenseNet-169
    /// ([`torchvision.models.densenet169`](https://pytorch.org/vision/stable/models/generated/torchvision.models.densenet169.html)).
    densenet169 = 32, [6, 12, 32, 32], 64;
    /// DenseNet-201
    /// ([`torchvision.models.densenet201`](https://pytorch.org/vision/stable/models/generated/torchvision.models.densenet201.html)).
    densenet201 = 32, [6, 12, 48, 32], 64;
}
