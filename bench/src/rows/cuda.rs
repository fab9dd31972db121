//! Work on a CUDA device, for `cargo xtask gpu-check`. Names and shapes are those of
//! `torch_cuda_rows.py`. Work is started and not waited for: whoever times it waits at the end.

use super::Row;
use flambeau::nn::GraphedStep;
use flambeau::prelude::*;
use std::hint::black_box;

/// How large the work is: that of the table, or as small as a test wants it.
#[derive(Clone, Copy)]
pub struct Size {
    pub full: bool,
}

impl Size {
    fn of(self, full: usize, small: usize) -> usize {
        if self.full { full } else { small }
    }
}

const DEVICE: Device = Device::Cuda(0);

/// Elements of the rows that memory bounds.
const LONG: usize = 64 << 20;

/// A batch of pictures with labels, made on the device.
fn batch(n: usize, size: usize) -> Result<(Tensor, Tensor)> {
    let x = Tensor::randn_with([n, 3, size, size], DEVICE)?;
    Ok((x, Tensor::randint_with(0, 10, [n], (DType::I64, DEVICE))?))
}

fn lenet(n: usize, graphed: bool) -> Row {
    let name = format!(
        "cuda_lenet_step_b{n}{}",
        if graphed { "_graph" } else { "" }
    );
    Row::new(name, move || {
        let net = LeNet::new(3, 10).to(DEVICE)?;
        let mut optimizer = Sgd::new(net.parameters(), 0.001).momentum(0.9);
        let (x, y) = batch(n, 32)?;
        let mut step = GraphedStep::new();
        Ok(move || {
            let loss =
                |x: &Tensor, y: &Tensor| net.forward(x)?.cross_entropy(y, ClassLoss::default());
            if graphed {
                let loss = step.run(&mut optimizer, [&x, &y], |[x, y]| loss(x, y))?;
                black_box(loss);
                return Ok(());
            }
            optimizer.zero_grad();
            loss(&x, &y)?.backward()?;
            optimizer.step()
        })
    })
    .also(if graphed {
        &["cuda_lenet_step_b4"]
    } else {
        &[]
    })
}

fn resnet(size: Size) -> Row {
    Row::new("cuda_resnet18_cifar_step_b256_bf16", move || {
        let (n, side) = (size.of(256, 2), size.of(32, 8));
        let mut net = resnet18(10);
        net.conv1 = Conv2d::new(3, 64, 3).padding(1).bias(false);
        net.maxpool = Box::new(Identity::new());
        let net = net.to((DEVICE, MemoryFormat::ChannelsLast))?;
        let mut optimizer = Sgd::new(net.parameters(), 0.1).momentum(0.9);
        let (x, y) = batch(n, side)?;
        let x = x.to_memory_format(MemoryFormat::ChannelsLast)?;
        Ok(move || {
            optimizer.zero_grad();
            let loss = autocast((DEVICE, DType::BF16), || {
                net.forward(&x)?.cross_entropy(&y, ClassLoss::default())
            })?;
            loss.backward()?;
            optimizer.step()
        })
    })
}

fn matmul(n: usize, dtype: DType, label: &str, size: Size) -> Row {
    Row::new(format!("cuda_matmul_{label}_{n}"), move || {
        let n = size.of(n, 32);
        let [a, b] = [(); 2].map(|()| Tensor::randn_with([n, n], (dtype, DEVICE)));
        let (a, b) = (a?, b?);
        Ok(move || a.matmul(&b).map(|y| drop(black_box(y))))
    })
    .flop(2 * n * n * n)
}

/// A row of `f` over a matrix of [`LONG`] elements, of which `read` and `written` go through memory.
fn long(
    name: &str,
    size: Size,
    (read, written): (usize, usize),
    f: impl Fn(&Tensor) -> Result<Tensor> + Copy + 'static,
) -> Row {
    Row::new(format!("cuda_{name}_64m"), move || {
        let x = Tensor::randn_with([size.of(LONG / 4096, 8), size.of(4096, 64)], DEVICE)?;
        Ok(move || f(&x).map(|y| drop(black_box(y))))
    })
    .elements(read * LONG, written * LONG)
}

/// Every row; the first one is what the others' share of the memory's speed is measured against.
pub fn all(size: Size) -> Vec<Row> {
    let mut rows = vec![
        long("copy", size, (1, 1), Tensor::copy),
        long("add", size, (1, 1), |x| x.add(1.0)),
        long("mul", size, (1, 1), |x| x.mul(x)),
        long("exp", size, (1, 1), Tensor::exp),
        long("gelu", size, (1, 1), |x| x.gelu()),
        long("softmax", size, (1, 1), |x| x.softmax(-1)),
        long("layer_norm", size, (1, 1), |x| {
            x.layer_norm(&x.shape()[1..], None, None, 1e-5)
        }),
    ];
    for n in [4096, 8192] {
        rows.push(matmul(n, DType::F32, "f32", size));
        rows.push(matmul(n, DType::BF16, "bf16", size));
    }
    rows.extend([lenet(4, false), lenet(4, true)]);
    rows.push(lenet(size.of(128, 8), false));
    rows.push(resnet(size));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use flambeau::cuda;

    #[test]
    fn every_row_runs() -> Result<()> {
        if !cuda::is_available()
            && let Err(e) = cuda::install_emulated()
        {
            eprintln!("skipped: {e}");
            return Ok(());
        }
        for row in all(Size { full: false }) {
            let mut work = (row.prepare)()?;
            let copies = cuda::layout_copies(0)?;
            // As often as it takes to capture.
            for _ in 0..5 {
                work()?;
            }
            cuda::synchronize(0)?;
            assert_eq!(
                cuda::layout_copies(0)?,
                copies,
                "{} copies into another layout",
                row.name
            );
        }
        Ok(())
    }
}
