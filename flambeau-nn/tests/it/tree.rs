//! The tree: names, order, printout, moving, loading.

use crate::{alone, goldens};
use flambeau_core::{DType, Device, Result, Tensor};
use flambeau_nn::*;
use std::sync::Arc;

#[derive(Module)]
struct Block {
    conv: Conv2d,
    bn: BatchNorm2d,
    act: ReLU,
}

impl Block {
    fn new() -> Block {
        Block {
            conv: Conv2d::new(3, 8, 3).padding(1).bias(false),
            bn: BatchNorm2d::new(8),
            act: ReLU::new().inplace(true),
        }
    }
}

#[derive(Module)]
struct Net {
    features: Sequential,
    blocks: (Block, Block, Identity),
    scale: Parameter,
    head: Linear,
    empty: Sequential,
    // Plain fields need no annotation.
    #[allow(dead_code)]
    classes: usize,
    #[allow(dead_code)]
    name: Option<String>,
    nothing: Option<Linear>,
}

impl Net {
    fn new() -> Result<Net> {
        Ok(Net {
            features: Sequential::new((
                Conv2d::new(3, 6, 5),
                MaxPool2d::new(2),
                Sequential::new((Dropout::new(0.1), Tanh::new())),
            )),
            blocks: (Block::new(), Block::new(), Identity::new()),
            scale: Parameter::new(Tensor::ones([3])?)?,
            head: Linear::new(10, 2),
            empty: Sequential::default(),
            classes: 2,
            name: None,
            nothing: None,
        })
    }
}

fn strings(v: &serde_json::Value) -> Vec<String> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn names_order_and_printout_are_pytorchs() -> Result<()> {
    let _alone = alone();
    let goldens = goldens("others");
    let want = &goldens["tree"];
    let net = Net::new()?;
    assert_eq!(net.to_string(), want["repr"].as_str().unwrap());
    let first =
        |names: Vec<(String, Parameter)>| names.into_iter().map(|n| n.0).collect::<Vec<_>>();
    assert_eq!(first(net.named_parameters()), strings(&want["parameters"]));
    let buffers: Vec<String> = net.named_buffers().into_iter().map(|b| b.0).collect();
    assert_eq!(buffers, strings(&want["buffers"]));
    let modules: Vec<String> = net.named_modules().into_iter().map(|m| m.0).collect();
    assert_eq!(modules, strings(&want["modules"]));
    assert_eq!(
        net.state_dict().keys().collect::<Vec<_>>(),
        strings(&want["state"])
    );
    assert_eq!(net.named_children().len(), 4);
    Ok(())
}

/// Generic over a module, with every kind of field that takes part.
#[derive(Module)]
#[module(extra_repr)]
struct Wrapped<M: Module, T> {
    inner: M,
    list: Vec<M>,
    boxed: Box<dyn Forward>,
    pair: [Linear; 2],
    weights: Vec<Parameter>,
    #[module(rename = "sum")]
    total: Buffer,
    #[module(skip)]
    hidden: Linear,
    mode: Mode,
    plain: T,
}

impl<M: Module, T> Wrapped<M, T> {
    fn extra_repr(&self) -> String {
        "extra".to_owned()
    }
}

/// Not `Sync` on its own would be refused; any plain type is fine.
struct Plain;

fn wrapped() -> Result<Wrapped<Linear, Plain>> {
    Ok(Wrapped {
        inner: Linear::new(1, 2),
        list: vec![Linear::new(1, 1), Linear::new(1, 1)],
        boxed: Box::new(Linear::new(2, 1)),
        pair: [Linear::new(1, 1), Linear::new(1, 3)],
        weights: vec![Parameter::new(Tensor::ones([2])?)?],
        total: Buffer::new(Tensor::zeros([1])?),
        hidden: Linear::new(5, 5),
        mode: Mode::default(),
        plain: Plain,
    })
}

#[test]
fn fields_are_found_by_their_types() -> Result<()> {
    let _alone = alone();
    let w = wrapped()?;
    let _ = (&w.hidden, &w.plain);
    let keys: Vec<String> = w.state_dict().keys().map(str::to_owned).collect();
    assert_eq!(
        keys,
        [
            "sum",
            "inner.weight",
            "inner.bias",
            "list.0.weight",
            "list.0.bias",
            "list.1.weight",
            "list.1.bias",
            "boxed.weight",
            "boxed.bias",
            "pair.0.weight",
            "pair.0.bias",
            "pair.1.weight",
            "pair.1.bias",
            "weights.0",
        ]
    );
    let text = "Wrapped(
  extra
  (inner): Linear(in_features=1, out_features=2, bias=True)
  (list): ModuleList(
    (0-1): 2 x Linear(in_features=1, out_features=1, bias=True)
  )
  (boxed): Linear(in_features=2, out_features=1, bias=True)
  (pair): ModuleList(
    (0): Linear(in_features=1, out_features=1, bias=True)
    (1): Linear(in_features=1, out_features=3, bias=True)
  )
  (weights): ParameterList(
    (0): Parameter containing: [torch.float32 of size 2]
  )
)";
    assert_eq!(w.to_string(), text);
    let linears = w.modules().iter().filter(|m| m.is::<Linear>()).count();
    assert_eq!(linears, 6);
    let mut order = Vec::new();
    w.apply(&mut |m| order.push(m.type_name()));
    assert_eq!(order.last(), Some(&"Wrapped"));
    Ok(())
}

#[test]
fn the_mode_reaches_every_layer() -> Result<()> {
    let _alone = alone();
    let net = Net::new()?;
    assert!(net.is_training() && net.head.is_training());
    net.eval();
    assert!(
        !net.is_training()
            && net
                .modules()
                .iter()
                .all(|m| !m.is_training()
                    || m.type_name() == "Sequential" && m.children().is_empty())
    );
    net.train();
    assert!(net.is_training() && net.features.is_training());
    let w = wrapped()?;
    w.eval();
    assert!(!w.mode.is_training());
    Ok(())
}

#[test]
fn moving_keeps_what_need_not_change() -> Result<()> {
    let _alone = alone();
    let net = Net::new()?;
    let before: Vec<Parameter> = net.parameters();
    let net = net.to(Device::Cpu)?.to(DType::F32)?;
    assert!(net.parameters().iter().zip(&before).all(|(a, b)| a.is(b)));
    net.head.weight.sum()?.backward()?;
    let net = net.to(DType::F64)?;
    for p in net.parameters() {
        assert!(p.dtype() == DType::F64 && p.requires_grad() && p.is_leaf());
    }
    assert_eq!(net.head.weight.grad().unwrap().dtype(), DType::F64);
    let counters = net
        .named_buffers()
        .into_iter()
        .filter(|(n, _)| n.ends_with("tracked"));
    assert!(counters.into_iter().all(|(_, b)| b.dtype() == DType::I64));
    assert!(net.to(DType::I64).is_err());
    Ok(())
}

#[test]
fn shared_parameters_are_counted_once_and_stay_shared() -> Result<()> {
    let _alone = alone();
    let mut pair = [Linear::new(2, 2), Linear::new(2, 2)];
    pair[1].weight = pair[0].weight.clone();
    let pair = Box::new(pair);
    assert_eq!(pair.parameters().len(), 3);
    let pair = pair.to(DType::F64)?;
    assert!(pair[0].weight.is(&pair[1].weight));
    // As in PyTorch the state dict has both names.
    assert_eq!(pair.state_dict().len(), 4);
    Ok(())
}

#[test]
fn freezing_and_forgetting() -> Result<()> {
    let _alone = alone();
    let net = Linear::new(2, 2);
    net.requires_grad_(false)?;
    assert!(!net.forward(&Tensor::ones([1, 2])?)?.requires_grad());
    net.requires_grad_(true)?;
    net.forward(&Tensor::ones([1, 2])?)?.sum()?.backward()?;
    assert!(net.weight.grad().is_some());
    net.zero_grad();
    assert!(net.weight.grad().is_none());
    assert_eq!(net.num_parameters(), 6);
    Ok(())
}

#[test]
fn loading_tells_all_that_does_not_fit_and_changes_nothing() -> Result<()> {
    let _alone = alone();
    let net = Net::new()?;
    let mut state = net.state_dict().copy()?;
    let weight = net.head.weight.to_vec::<f32>()?;
    state.insert("head.weight", Tensor::ones([2, 10])?);
    state.insert("head.bias", Tensor::ones([3])?);
    state.insert("blocks.0.conv.weight", Tensor::ones([8, 3, 1, 1])?);
    state.remove("scale");
    state.insert("surplus", Tensor::ones([1])?);
    let error = net.load_state_dict(&state, true).unwrap_err().to_string();
    for text in [
        "does not fit Net",
        "missing in the state dict (1): scale",
        "unexpected in the state dict (1): surplus",
        "head.bias: [3] in the state dict, [2] in the module",
        "blocks.0.conv.weight: [8, 3, 1, 1] in the state dict, [8, 3, 3, 3] in the module",
        "Nothing was loaded",
        "tree.rs",
    ] {
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(net.head.weight.to_vec::<f32>()?, weight);
    assert!(net.load_state_dict(&state, false).is_err());

    state.remove("head.bias");
    state.remove("blocks.0.conv.weight");
    state.remove("blocks.0.bn.num_batches_tracked");
    let report = net.load_state_dict(&state, false)?;
    assert_eq!(
        report.missing,
        ["scale", "blocks.0.conv.weight", "head.bias"]
    );
    assert_eq!(report.unexpected, ["surplus"]);
    assert_eq!(net.head.weight.to_vec::<f32>()?, [1.0; 20]);
    Ok(())
}

#[test]
fn errors_say_where_in_the_tree() -> Result<()> {
    let _alone = alone();
    let net = Net::new()?.to(Device::Cpu)?;
    let error = net
        .head
        .forward(&Tensor::ones([4, 9])?)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("in net.head Linear(10 -> 2)"), "{error}");
    assert!(error.contains("tree.rs"), "{error}");
    // A part looked at on its own keeps its place in the whole.
    let _ = net.features.parameters();
    let error = net
        .features
        .forward(&Tensor::ones([1, 4, 9, 9])?)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("in net.features.0 Conv2d(3 -> 6)"),
        "{error}"
    );
    assert!(error.contains("tree.rs"), "through the box: {error}");
    Ok(())
}

#[test]
fn a_sequential_with_names_and_a_module_list() -> Result<()> {
    let _alone = alone();
    let net = Sequential::default()
        .add_named("fc", Linear::new(2, 3))
        .add_named("act", Sigmoid::new());
    assert_eq!(net.named_parameters()[0].0, "fc.weight");
    assert_eq!(net.len(), 2);
    assert_eq!(net.get(1).map(|m| m.type_name()), Some("Sigmoid"));
    let mut list = ModuleList::new((Linear::new(2, 3), ReLU::new()));
    list.push(Linear::new(3, 1));
    let mut x = Tensor::ones([5, 2])?;
    for layer in list.iter() {
        x = layer.forward(&x)?;
    }
    assert_eq!(x.shape(), [5, 1]);
    assert_eq!(list.named_parameters()[2].0, "2.weight");
    Ok(())
}

#[test]
fn a_shared_module_is_the_module_in_it() -> Result<()> {
    #[derive(Module)]
    struct Shared {
        block: Arc<Block>,
        head: Arc<dyn Forward>,
    }
    let net = Shared {
        block: Arc::new(Block::new()),
        head: Arc::new(Linear::new(2, 1)),
    };
    let names: Vec<String> = (net.named_parameters().into_iter())
        .map(|(n, _)| n)
        .collect();
    let want = [
        "block.conv.weight",
        "block.bn.weight",
        "block.bn.bias",
        "head.weight",
        "head.bias",
    ];
    assert_eq!(names, want);
    assert!(net.to_string().contains("(block): Block("), "{net}");
    let net = net.to(DType::F64)?;
    assert_eq!(net.block.conv.weight.dtype(), DType::F64);
    let kept = net.block.clone();
    let error = net.to(DType::F32).err().unwrap().to_string();
    assert!(error.contains("Block is shared"), "{error}");
    drop(kept);
    Ok(())
}

#[test]
fn checkpointed_parts_give_the_same_gradients() -> Result<()> {
    let _alone = alone();
    let layers = || {
        Sequential::new((
            Linear::new(4, 6),
            Dropout::new(0.5),
            Tanh::new(),
            Linear::new(6, 6),
            Dropout::new(0.3),
            ReLU::new(),
            Linear::new(6, 2),
        ))
    };
    let net = Arc::new(layers());
    let x = Tensor::ones([5, 4])?;
    let run = |segments: usize| -> Result<Vec<Vec<f32>>> {
        flambeau_core::manual_seed(1);
        let y = match segments {
            0 => net.forward(&x)?,
            n => checkpoint_sequential(&net, n, &x)?,
        };
        y.square()?.sum()?.backward()?;
        let mut all = vec![y.detach().to_vec()?];
        for p in net.parameters() {
            all.push(p.grad().unwrap().to_vec()?);
            p.zero_grad();
        }
        Ok(all)
    };
    let want = run(0)?;
    for segments in [1, 2, 3, 7] {
        assert_eq!(run(segments)?, want, "{segments} segments");
    }
    for segments in [0, 8] {
        let error = checkpoint_sequential(&net, segments, &x)
            .unwrap_err()
            .to_string();
        assert!(error.contains("7 modules"), "{error}");
    }
    Ok(())
}
