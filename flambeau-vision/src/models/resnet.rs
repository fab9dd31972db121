use flambeau_core::{Result, Tensor, bail};
use flambeau_nn::init::{FanMode, Nonlinearity, kaiming_normal_, zeros_};
use flambeau_nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Forward, Linear, MaxPool2d, Module, ReLU, Sequential,
};

fn conv3x3(from: usize, to: usize, stride: usize, dilation: usize, groups: usize) -> Conv2d {
    let conv = Conv2d::new(from, to, 3).stride(stride).padding(dilation);
    // An option that decides about the draw draws again: only where it says something new.
    let conv = if groups == 1 {
        conv
    } else {
        conv.groups(groups)
    };
    conv.dilation(dilation).bias(false)
}

fn conv1x1(from: usize, to: usize, stride: usize) -> Conv2d {
    Conv2d::new(from, to, 1).stride(stride).bias(false)
}

/// Two 3x3 convolutions and the way around them: the block of ResNet-18 and ResNet-34.
#[derive(Debug, Module)]
pub struct BasicBlock {
    /// The first convolution, which has the stride.
    pub conv1: Conv2d,
    /// Its normalisation.
    pub bn1: BatchNorm2d,
    /// After `bn1` and after the sum.
    pub relu: ReLU,
    /// The second convolution.
    pub conv2: Conv2d,
    /// Its normalisation.
    pub bn2: BatchNorm2d,
    /// A 1x1 convolution and its normalisation on the way around, where the shape changes.
    pub downsample: Option<Sequential>,
}

impl Forward for BasicBlock {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let out = self.bn1.forward(&self.conv1.forward(x)?)?;
        let out = self.relu.forward(&out)?;
        let out = self.bn2.forward(&self.conv2.forward(&out)?)?;
        self.relu.forward(&around(&out, x, &self.downsample)?)
    }
}

/// A 1x1, a 3x3 and a 1x1 convolution and the way around them: the block of ResNet-50 and deeper.
/// As in torchvision the 3x3 convolution has the stride (ResNet "v1.5").
#[derive(Debug, Module)]
pub struct Bottleneck {
    /// 1x1, to the block's width.
    pub conv1: Conv2d,
    /// Its normalisation.
    pub bn1: BatchNorm2d,
    /// 3x3, with the stride, the dilation and the groups.
    pub conv2: Conv2d,
    /// Its normalisation.
    pub bn2: BatchNorm2d,
    /// 1x1, to four times the planes.
    pub conv3: Conv2d,
    /// Its normalisation.
    pub bn3: BatchNorm2d,
    /// After `bn1`, `bn2` and the sum.
    pub relu: ReLU,
    /// A 1x1 convolution and its normalisation on the way around, where the shape changes.
    pub downsample: Option<Sequential>,
}

impl Forward for Bottleneck {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let out = self.bn1.forward(&self.conv1.forward(x)?)?;
        let out = self.relu.forward(&out)?;
        let out = self.bn2.forward(&self.conv2.forward(&out)?)?;
        let out = self.relu.forward(&out)?;
        let out = self.bn3.forward(&self.conv3.forward(&out)?)?;
        self.relu.forward(&around(&out, x, &self.downsample)?)
    }
}

/// `out` and what comes around the block, in the memory of `out`.
#[track_caller]
fn around(out: &Tensor, x: &Tensor, downsample: &Option<Sequential>) -> Result<Tensor> {
    match downsample {
        Some(d) => out.add_(&d.forward(x)?),
        None => out.add_(x),
    }
}

/// What the four stages of a [`ResNet`] are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNetBlock {
    /// [`BasicBlock`]: stages of 64, 128, 256 and 512 planes.
    Basic,
    /// [`Bottleneck`]: stages of 256, 512, 1024 and 2048 planes.
    Bottleneck,
}

impl ResNetBlock {
    fn expansion(self) -> usize {
        match self {
            ResNetBlock::Basic => 1,
            ResNetBlock::Bottleneck => 4,
        }
    }
}

/// The arguments of torchvision's `ResNet`; the default is ResNet-18 for ImageNet's 1000 classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetOptions {
    /// The kind of block (`Basic`).
    pub block: ResNetBlock,
    /// How many blocks each stage has (`[2, 2, 2, 2]`).
    pub layers: [usize; 4],
    /// Classes (1000).
    pub num_classes: usize,
    /// Groups of the 3x3 convolutions (1); above 1 it is ResNeXt (arXiv 1611.05431).
    pub groups: usize,
    /// Planes of each group in the first stage (64); above 64 it is Wide ResNet (arXiv 1605.07146).
    pub width_per_group: usize,
    /// For each of the last three stages, whether it dilates its kernels instead of halving the
    /// picture (false).
    pub replace_stride_with_dilation: [bool; 3],
}

impl Default for ResNetOptions {
    fn default() -> ResNetOptions {
        ResNetOptions {
            block: ResNetBlock::Basic,
            layers: [2, 2, 2, 2],
            num_classes: 1000,
            groups: 1,
            width_per_group: 64,
            replace_stride_with_dilation: [false; 3],
        }
    }
}

/// Deep residual network (He et al., arXiv 1512.03385; `torchvision.models.ResNet`), made by
/// [`resnet18`], [`resnet34`], [`resnet50`] and so on.
///
/// Input `[batch, 3, height, width]`, output `[batch, classes]` logits. Its parts are fields to
/// replace, as torchvision's are. For CIFAR's small pictures the stem keeps their size:
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed, no_grad};
/// use flambeau_nn::{Conv2d, Forward, Identity, Module};
/// use flambeau_vision::models::resnet18;
/// manual_seed(0);
/// let mut net = resnet18(10);
/// assert_eq!(net.num_parameters(), 11_181_642);
/// net.conv1 = Conv2d::new(3, 64, 3).padding(1).bias(false);
/// net.maxpool = Box::new(Identity::new());
/// net.eval();
/// let logits = no_grad(|| net.forward(&Tensor::zeros([1, 3, 8, 8])?))?;
/// assert_eq!(logits.shape(), [1, 10]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Module)]
pub struct ResNet {
    /// The stem: 7x7, stride 2, from 3 to 64 planes.
    pub conv1: Conv2d,
    /// Its normalisation.
    pub bn1: BatchNorm2d,
    /// After `bn1`.
    pub relu: ReLU,
    /// 3x3, stride 2.
    pub maxpool: Box<dyn Forward>,
    /// The first stage, at the stem's size.
    pub layer1: Sequential,
    /// The second, at half of it.
    pub layer2: Sequential,
    /// The third, at a quarter.
    pub layer3: Sequential,
    /// The fourth, at an eighth.
    pub layer4: Sequential,
    /// The mean of each plane.
    pub avgpool: AdaptiveAvgPool2d,
    /// From 512 planes (2048 with bottlenecks) to the classes.
    pub fc: Box<dyn Forward>,
}

impl ResNet {
    /// With torchvision's initial weights for the default generator's state: normal by
    /// [`kaiming_normal_`] over the fan out for convolutions, ones and zeros for normalisations.
    ///
    /// ```
    /// use flambeau_nn::Module;
    /// use flambeau_vision::models::{ResNet, ResNetBlock, ResNetOptions};
    /// let small = ResNetOptions { layers: [1, 1, 1, 1], num_classes: 10, ..Default::default() };
    /// assert_eq!(ResNet::new(&small)?.num_parameters(), 4_910_922);
    /// let wide = ResNetOptions { width_per_group: 128, ..small };
    /// let error = ResNet::new(&wide).err().unwrap().to_string();
    /// assert!(error.contains("width_per_group 64"), "{error}");
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where basic blocks are to have groups, another width or dilation, which only bottlenecks have.
    #[track_caller]
    pub fn new(options: &ResNetOptions) -> Result<ResNet> {
        let ResNetOptions {
            groups,
            width_per_group,
            replace_stride_with_dilation: dilate,
            ..
        } = *options;
        let plain = groups == 1 && width_per_group == 64 && dilate == [false; 3];
        if options.block == ResNetBlock::Basic && !plain {
            bail!(
                "ResNet",
                "basic blocks have groups 1, width_per_group 64 and no dilation; got groups {groups}, width_per_group {width_per_group}, replace_stride_with_dilation {dilate:?}; use ResNetBlock::Bottleneck"
            );
        }
        if groups == 0 || width_per_group == 0 {
            bail!(
                "ResNet",
                "groups and width_per_group must not be 0; got {groups} and {width_per_group}"
            );
        }
        Ok(ResNet::build(options))
    }

    fn build(options: &ResNetOptions) -> ResNet {
        let conv1 = Conv2d::new(3, 64, 7).stride(2).padding(3).bias(false);
        let mut stages = Stages {
            options,
            planes: 64,
            dilation: 1,
        };
        let [d2, d3, d4] = options.replace_stride_with_dilation;
        let net = ResNet {
            conv1,
            bn1: BatchNorm2d::new(64),
            relu: ReLU::new().inplace(true),
            maxpool: Box::new(MaxPool2d::new(3).stride(2).padding(1)),
            layer1: stages.make(64, options.layers[0], 1, false),
            layer2: stages.make(128, options.layers[1], 2, d2),
            layer3: stages.make(256, options.layers[2], 2, d3),
            layer4: stages.make(512, options.layers[3], 2, d4),
            avgpool: AdaptiveAvgPool2d::new((1, 1)),
            fc: Box::new(Linear::new(stages.planes, options.num_classes)),
        };
        for module in net.modules() {
            if let Some(conv) = module.downcast_ref::<Conv2d>() {
                // A weight that could not be made is its layer's error, at the first call.
                let _ = kaiming_normal_(&conv.weight, FanMode::FanOut, Nonlinearity::ReLU);
            }
        }
        net
    }

    /// With the last normalisation of each block at zero, so that at the beginning each block passes
    /// on its input (Goyal et al., arXiv 1706.02677; `zero_init_residual=True`).
    ///
    /// # Errors
    /// Where a scale cannot be changed in place.
    #[track_caller]
    pub fn zero_init_residual(self) -> Result<ResNet> {
        for module in self.modules() {
            let last = match module.downcast_ref::<Bottleneck>() {
                Some(block) => Some(&block.bn3),
                None => module.downcast_ref::<BasicBlock>().map(|b| &b.bn2),
            };
            if let Some(scale) = last.and_then(|bn| bn.weight.as_ref()) {
                zeros_(scale)?;
            }
        }
        Ok(self)
    }
}

impl Forward for ResNet {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.bn1.forward(&self.conv1.forward(x)?)?;
        let x = self.maxpool.forward(&self.relu.forward(&x)?)?;
        let x = self.layer1.forward(&x)?;
        let x = self.layer2.forward(&x)?;
        let x = self.layer3.forward(&x)?;
        let x = self.layer4.forward(&x)?;
        let x = self.avgpool.forward(&x)?.flatten(1, -1)?;
        self.fc.forward(&x)
    }
}

/// What one stage leaves to the next.
struct Stages<'a> {
    options: &'a ResNetOptions,
    planes: usize,
    dilation: usize,
}

impl Stages<'_> {
    /// torchvision's `_make_layer`, in its order of draws: the way around before the block.
    fn make(&mut self, planes: usize, blocks: usize, stride: usize, dilate: bool) -> Sequential {
        let first_dilation = self.dilation;
        let stride = if dilate {
            self.dilation *= stride;
            1
        } else {
            stride
        };
        let out = planes * self.options.block.expansion();
        let downsample = (stride != 1 || self.planes != out)
            .then(|| Sequential::new((conv1x1(self.planes, out, stride), BatchNorm2d::new(out))));
        let first = Block {
            from: self.planes,
            planes,
            stride,
            dilation: first_dilation,
        };
        let mut stage = self.add(Sequential::default(), first, downsample);
        self.planes = out;
        for _ in 1..blocks {
            let block = Block {
                from: out,
                planes,
                stride: 1,
                dilation: self.dilation,
            };
            stage = self.add(stage, block, None);
        }
        stage
    }

    fn add(&self, stage: Sequential, block: Block, downsample: Option<Sequential>) -> Sequential {
        let Block {
            from,
            planes,
            stride,
            dilation,
        } = block;
        let relu = ReLU::new().inplace(true);
        match self.options.block {
            ResNetBlock::Basic => stage.add(BasicBlock {
                conv1: conv3x3(from, planes, stride, 1, 1),
                bn1: BatchNorm2d::new(planes),
                relu,
                conv2: conv3x3(planes, planes, 1, 1, 1),
                bn2: BatchNorm2d::new(planes),
                downsample,
            }),
            ResNetBlock::Bottleneck => {
                let groups = self.options.groups;
                let width = planes * self.options.width_per_group / 64 * groups;
                let out = planes * self.options.block.expansion();
                stage.add(Bottleneck {
                    conv1: conv1x1(from, width, 1),
                    bn1: BatchNorm2d::new(width),
                    conv2: conv3x3(width, width, stride, dilation, groups),
                    bn2: BatchNorm2d::new(width),
                    conv3: conv1x1(width, out, 1),
                    bn3: BatchNorm2d::new(out),
                    relu,
                    downsample,
                })
            }
        }
    }
}

/// Where a block stands.
struct Block {
    from: usize,
    planes: usize,
    stride: usize,
    dilation: usize,
}

macro_rules! resnets {
    ($($(#[$doc:meta])* $name:ident = $block:ident $layers:expr, $groups:literal x $width:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name(num_classes: usize) -> ResNet {
            ResNet::build(&ResNetOptions {
                block: ResNetBlock::$block,
                layers: $layers,
                num_classes,
                groups: $groups,
                width_per_group: $width,
                replace_stride_with_dilation: [false; 3],
            })
        }
    )*};
}

resnets! {
    /// ResNet-18
    /// ([`torchvision.models.resnet18`](https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet18.html), whose default is 1000 classes).
    resnet18 = Basic [2, 2, 2, 2], 1 x 64;
    /// ResNet-34
    /// ([`torchvision.models.resnet34`](https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet34.html)).
    resnet34 = Basic [3, 4, 6, 3], 1 x 64;
    /// ResNet-50
    /// ([`torchvision.models.resnet50`](https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet50.html)).
    resnet50 = Bottleneck [3, 4, 6, 3], 1 x 64;
    /// ResNet-101
    /// ([`torchvision.models.resnet101`](https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet101.html)).
    resnet101 = Bottleneck [3, 4, 23, 3], 1 x 64;
    /// ResNet-152
    /// ([`torchvision.models.resnet152`](https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet152.html)).
    resnet152 = Bottleneck [3, 8, 36, 3], 1 x 64;
    /// ResNeXt-50 32x4d (Xie et al., arXiv 1611.05431; [`torchvision.models.resnext50_32x4d`](https://pytorch.org/vision/stable/models/generated/torchvision.models.resnext50_32x4d.html)).
    resnext50_32x4d = Bottleneck [3, 4, 6, 3], 32 x 4;
    /// ResNeXt-101 32x8d
    /// ([`torchvision.models.resnext101_32x8d`](https://pytorch.org/vision/stable/models/generated/torchvision.models.resnext101_32x8d.html)).
    resnext101_32x8d = Bottleneck [3, 4, 23, 3], 32 x 8;
    /// ResNeXt-101 64x4d
    /// ([`torchvision.models.resnext101_64x4d`](https://pytorch.org/vision/stable/models/generated/torchvision.models.resnext101_64x4d.html)).
    resnext101_64x4d = Bottleneck [3, 4, 23, 3], 64 x 4;
    /// Wide ResNet-50-2 (Zagoruyko and Komodakis, arXiv 1605.07146;
    /// [`torchvision.models.wide_resnet50_2`](https://pytorch.org/vision/stable/models/generated/torchvision.models.wide_resnet50_2.html)).
    wide_resnet50_2 = Bottleneck [3, 4, 6, 3], 1 x 128;
    /// Wide ResNet-101-2
    /// ([`torchvision.models.wide_resnet101_2`](https://pytorch.org/vision/stable/models/generated/torchvision.models.wide_resnet101_2.html)).
    wide_resnet101_2 = Bottleneck [3, 4, 23, 3], 1 x 128;
}
