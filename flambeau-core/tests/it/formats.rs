//! Memory formats: strides of results and gradients against PyTorch's, on the CPU and on a CUDA device.

use crate::ops::device::device;
use flambeau_core::{
    BatchNormOptions, ConvOptions, DType, Device, MemoryFormat, Result, Tensor, cuda,
};
use std::collections::HashMap;

/// What `tests/goldens/formats.py` prints.
const STRIDES: &[(&str, &[usize])] = &[
    ("relu", &[90, 1, 15, 3]),
    ("add", &[90, 1, 15, 3]),
    ("add number", &[90, 1, 15, 3]),
    ("add each", &[90, 1, 15, 3]),
    ("each add", &[90, 1, 15, 3]),
    ("add plain", &[90, 1, 15, 3]),
    ("plain add", &[90, 30, 5, 1]),
    ("compare", &[90, 1, 15, 3]),
    ("cast", &[90, 1, 15, 3]),
    ("clone", &[90, 1, 15, 3]),
    ("zeros_like", &[90, 1, 15, 3]),
    ("cat", &[180, 1, 30, 6]),
    ("cat plain", &[180, 30, 5, 1]),
    ("sum", &[]),
    ("mean of each", &[1]),
    ("amax", &[30, 30, 5, 1]),
    ("one channel", &[30, 30, 5, 1]),
    ("slice", &[30, 1, 15, 3]),
    ("conv2d", &[48, 1, 12, 4]),
    ("conv2d gradient of x", &[90, 1, 15, 3]),
    ("conv2d gradient of w", &[27, 9, 3, 1]),
    ("conv2d of plain", &[48, 1, 12, 4]),
    ("conv2d of plain gradient of x", &[90, 30, 5, 1]),
    ("conv2d of plain gradient of w", &[27, 1, 9, 3]),
    ("conv2d of both", &[48, 1, 12, 4]),
    ("conv2d of both gradient of x", &[90, 1, 15, 3]),
    ("conv2d of both gradient of w", &[27, 1, 9, 3]),
    ("conv2d of all", &[4, 1, 4, 4]),
    ("conv2d of all gradient of x", &[27, 1, 9, 3]),
    ("conv2d of all gradient of w", &[27, 1, 9, 3]),
    ("conv3d", &[72, 1, 24, 6, 3]),
    ("conv3d gradient of x", &[120, 1, 30, 6, 2]),
    ("conv3d gradient of w", &[16, 1, 8, 4, 2]),
    ("batch_norm trained", &[90, 1, 15, 3]),
    ("batch_norm trained gradient of x", &[90, 1, 15, 3]),
    ("batch_norm fixed", &[90, 1, 15, 3]),
    ("batch_norm fixed gradient of x", &[90, 1, 15, 3]),
    ("max_pool2d", &[18, 1, 6, 3]),
    ("max_pool2d places", &[18, 1, 6, 3]),
    ("max_pool2d gradient of x", &[90, 1, 15, 3]),
    ("avg_pool2d", &[18, 1, 6, 3]),
    ("avg_pool2d gradient of x", &[90, 1, 15, 3]),
    ("adaptive_avg_pool2d", &[3, 1, 3, 3]),
    ("adaptive_avg_pool2d gradient of x", &[90, 1, 15, 3]),
    ("adaptive_max_pool2d", &[12, 1, 6, 3]),
    ("adaptive_max_pool2d gradient of x", &[90, 1, 15, 3]),
    ("max_pool3d", &[24, 1, 12, 6, 2]),
    ("max_pool3d gradient of x", &[192, 1, 48, 12, 2]),
];

fn leaf(shape: &[usize], last: bool, device: Device) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n)
        .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
        .collect();
    let format = match shape.len() {
        _ if !last => MemoryFormat::Contiguous,
        4 => MemoryFormat::ChannelsLast,
        _ => MemoryFormat::ChannelsLast3d,
    };
    let x = Tensor::from_vec(values, shape)?.to((device, format))?;
    x.requires_grad_(true)
}

/// Results by the names of the table.
#[derive(Default)]
struct Found(HashMap<String, Tensor>);

impl Found {
    fn show(&mut self, name: &str, t: &Tensor) {
        self.0.insert(name.to_owned(), t.detach());
    }

    fn gradients(&mut self, name: &str, y: &Tensor, leaves: &[(&str, &Tensor)]) -> Result<()> {
        y.sum()?.backward()?;
        for (what, t) in leaves {
            let grad = t.grad().expect("the leaf takes part");
            self.show(&format!("{name} gradient of {what}"), &grad);
        }
        Ok(())
    }
}

fn results(device: Device, last: bool) -> Result<Found> {
    let leaf = |shape: &[usize], wanted: bool| leaf(shape, wanted && last, device);
    let mut found = Found::default();
    let (x, plain) = (leaf(&[2, 3, 6, 5], true)?, leaf(&[2, 3, 6, 5], false)?);
    let each = leaf(&[3, 1, 1, 1], false)?.view([3, 1, 1])?;
    for (name, t) in [
        ("relu", x.relu()?),
        ("add", x.add(&x)?),
        ("add number", x.add(1)?),
        ("add each", x.add(&each)?),
        ("each add", each.add(&x)?),
        ("add plain", x.add(&plain)?),
        ("plain add", plain.add(&x)?),
        ("compare", x.gt(0)?),
        ("cast", x.to_dtype(DType::F64)?),
        ("clone", x.copy()?),
        ("zeros_like", x.zeros_like()?),
        ("cat", Tensor::cat(&[&x, &x], 1)?),
        ("cat plain", Tensor::cat(&[&x, &plain], 1)?),
        ("sum", x.sum()?),
        ("mean of each", x.mean_dim([0, 2, 3], false)?),
        ("amax", x.amax([1], true)?),
        ("slice", x.narrow(2, 1, 2)?.copy()?),
    ] {
        found.show(name, &t);
    }
    let one = x.narrow(1, 0, 1)?;
    let one = one.contiguous_format(MemoryFormat::ChannelsLast)?;
    found.show("one channel", &one.relu()?);
    for (name, x, w) in [
        (
            "conv2d",
            leaf(&[2, 3, 6, 5], true)?,
            leaf(&[4, 3, 3, 3], false)?,
        ),
        (
            "conv2d of plain",
            leaf(&[2, 3, 6, 5], false)?,
            leaf(&[4, 3, 3, 3], true)?,
        ),
        (
            "conv2d of both",
            leaf(&[2, 3, 6, 5], true)?,
            leaf(&[4, 3, 3, 3], true)?,
        ),
        (
            "conv2d of all",
            leaf(&[2, 3, 3, 3], true)?,
            leaf(&[4, 3, 3, 3], true)?,
        ),
    ] {
        let y = x.conv2d(&w, None, &ConvOptions::default())?;
        found.show(name, &y);
        found.gradients(name, &y, &[("x", &x), ("w", &w)])?;
    }
    let (x, w) = (leaf(&[2, 2, 4, 5, 3], true)?, leaf(&[3, 2, 2, 2, 2], true)?);
    let y = x.conv3d(&w, None, &ConvOptions::default())?;
    found.show("conv3d", &y);
    found.gradients("conv3d", &y, &[("x", &x), ("w", &w)])?;
    for (name, training) in [("batch_norm trained", true), ("batch_norm fixed", false)] {
        let x = leaf(&[2, 3, 6, 5], true)?;
        let (mean, var) = (
            Tensor::zeros_with([3], device)?,
            Tensor::ones_with([3], device)?,
        );
        let options = BatchNormOptions {
            running: Some((&mean, &var)),
            training,
            ..BatchNormOptions::default()
        };
        let y = x.batch_norm(options)?;
        found.show(name, &y);
        found.gradients(name, &y.mul(y.detach())?, &[("x", &x)])?;
    }
    let x = leaf(&[2, 3, 6, 5], true)?;
    let (y, places) = x.max_pool2d_with_indices(2)?;
    found.show("max_pool2d", &y);
    found.show("max_pool2d places", &places);
    found.gradients("max_pool2d", &y, &[("x", &x)])?;
    type Call = fn(&Tensor) -> Result<Tensor>;
    let pools: [(&str, Call); 3] = [
        ("avg_pool2d", |x| x.avg_pool2d(2)),
        ("adaptive_avg_pool2d", |x| x.adaptive_avg_pool2d([1, 1])),
        ("adaptive_max_pool2d", |x| x.adaptive_max_pool2d([2, 2])),
    ];
    for (name, pool) in pools {
        let x = leaf(&[2, 3, 6, 5], true)?;
        let y = pool(&x)?;
        found.show(name, &y);
        found.gradients(name, &y, &[("x", &x)])?;
    }
    let x = leaf(&[1, 2, 4, 4, 6], true)?;
    let y = x.max_pool3d(2)?;
    found.show("max_pool3d", &y);
    found.gradients("max_pool3d", &y, &[("x", &x)])?;
    Ok(found)
}

fn compare(device: Device) -> Result<()> {
    let (found, plain) = (results(device, true)?, results(Device::Cpu, false)?);
    assert_eq!(found.0.len(), STRIDES.len());
    let mut wrong = Vec::new();
    for (name, strides) in STRIDES {
        let (t, want) = (&found.0[*name], &plain.0[*name]);
        // Strides of dimensions of size 1 lead nowhere.
        let same = (t.shape().iter().zip(t.strides().iter().zip(*strides)))
            .all(|(&d, (a, b))| d == 1 || a == b);
        if !same {
            wrong.push(format!(
                "{name}: {:?}, PyTorch has {strides:?}",
                t.strides()
            ));
        }
        let (t, want) = (t.cpu()?.to_dtype(DType::F64)?, want.to_dtype(DType::F64)?);
        if !t.allclose(&want, 1e-5, 1e-5, false)? {
            wrong.push(format!("{name}: other values than of contiguous operands"));
        }
    }
    assert!(wrong.is_empty(), "on {device}:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn strides_are_pytorchs() -> Result<()> {
    compare(Device::Cpu)
}

#[test]
fn strides_are_pytorchs_on_a_cuda_device() -> Result<()> {
    device().map_or(Ok(()), compare)
}

#[test]
fn a_format_goes_along_to_a_device_and_back() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let x = leaf(&[2, 3, 6, 5], true, Device::Cpu)?;
    let there = x.to_device(device)?;
    assert_eq!(there.strides(), x.strides());
    let back = there.cpu()?;
    assert_eq!(back.strides(), x.strides());
    assert_eq!(back.detach().to_vec::<f32>()?, x.detach().to_vec::<f32>()?);
    // Bytes are row-major whatever the format.
    let bytes = |t: &Tensor| t.detach().with_bytes(<[u8]>::to_vec);
    assert_eq!(bytes(&there)?, bytes(&x.detach().contiguous()?)?);
    Ok(())
}

#[test]
fn formats_are_changed_and_refused_as_in_pytorch() -> Result<()> {
    let x = leaf(&[2, 3, 4, 5], false, Device::Cpu)?;
    let last = x.contiguous_format(MemoryFormat::ChannelsLast)?;
    assert!(
        last.contiguous_format(MemoryFormat::ChannelsLast)?
            .is(&last)
    );
    assert!(last.to_memory_format(MemoryFormat::Preserve)?.is(&last));
    assert_eq!(
        last.to_memory_format(MemoryFormat::Contiguous)?.strides(),
        x.strides()
    );
    // The gradient passes, and lies as its leaf does.
    last.mul(&last)?.sum()?.backward()?;
    let grad = x.grad().expect("x takes part");
    assert!(grad.is_contiguous());
    assert_eq!(grad.to_vec::<f32>()?, x.detach().mul(2)?.to_vec::<f32>()?);
    // In place, recorded and not, where it lies.
    for record in [false, true] {
        let y = match record {
            true => last.copy()?,
            false => last.detach().copy()?,
        };
        y.relu_()?;
        y.add_(1)?;
        assert_eq!(y.strides(), last.strides());
        let want = x.detach().relu()?.add(1)?;
        assert!(y.detach().contiguous()?.equal(&want)?);
    }
    let flat = Tensor::zeros([2, 3])?;
    let error = flat
        .contiguous_format(MemoryFormat::ChannelsLast)
        .unwrap_err();
    assert!(error.to_string().contains("4 dimensions"), "{error}");
    let error = x.contiguous_format(MemoryFormat::Preserve).unwrap_err();
    assert!(error.to_string().contains("choose Contiguous"), "{error}");
    assert!(!flat.is_contiguous_format(MemoryFormat::ChannelsLast));
    Ok(())
}

/// What lies alike is computed where it lies; only a change of format copies.
#[test]
fn copies_between_layouts_are_counted() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let x = leaf(&[2, 3, 6, 5], true, device)?.detach();
    let at = |t: &Tensor| t.device() == device;
    let y = x.relu()?.add(&x)?.to_dtype(DType::BF16)?;
    assert!(at(&y) && y.suggest_memory_format() == MemoryFormat::ChannelsLast);
    let before = cuda::layout_copies(0)?;
    y.contiguous()?;
    // Other tests copy too.
    assert!(cuda::layout_copies(0)? > before);
    Ok(())
}
