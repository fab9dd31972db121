//! "Deep Learning with PyTorch: A 60 Minute Blitz", section by section, in flambeau.
//!
//! Run it with `cargo run --release --example tutorial`. It prints what the tutorial prints and
//! asserts what the tutorial says, so that each sentence below is known to be true.

use flambeau::prelude::*;

fn main() -> Result<()> {
    manual_seed(0);

    heading("1. Tensors");
    making_tensors()?;
    attributes()?;
    indexing_and_joining()?;
    arithmetic()?;
    bridge_to_rust()?;
    views()?;

    heading("2. Automatic differentiation");
    first_gradient()?;
    external_gradient()?;
    vector_jacobian_product()?;
    without_a_graph()?;
    frozen_parameters()?;

    heading("3. Neural networks");
    neural_network()?;

    heading("4. Training a classifier");
    classifier()
}

fn heading(title: &str) {
    println!("\n==== {title} ====");
}

/// Whether two tensors hold the same numbers, up to rounding.
fn close(a: &Tensor, b: &Tensor) -> Result<bool> {
    Ok(a.shape() == b.shape() && a.sub(b)?.abs()?.max()?.item::<f32>()? < 1e-6)
}

// ---- 1. Tensors ------------------------------------------------------------------------------

/// A tensor comes from data, from a shape, or from another tensor whose properties it takes.
fn making_tensors() -> Result<()> {
    let x_data = Tensor::new([[1, 2], [3, 4]])?;
    println!("From data:\n{x_data}");
    assert_eq!(x_data.shape(), [2, 2], "the shape follows from the nesting");

    let x_ones = x_data.ones_like()?;
    println!("Ones like it:\n{x_ones}");
    assert_eq!(x_ones.dtype(), x_data.dtype(), "the type is inherited");

    // Random numbers need a floating-point type: this one is made in the same shape.
    let x_rand = x_data.to_dtype(DType::F32)?.rand_like()?;
    println!("Random, like it:\n{x_rand}");
    assert_eq!(x_rand.dtype(), DType::F32, "the type is overridden");

    let shape = [2, 3];
    let (rand, ones, zeros) = (
        Tensor::rand(shape)?,
        Tensor::ones(shape)?,
        Tensor::zeros(shape)?,
    );
    println!("Random:\n{rand}\nOnes:\n{ones}\nZeros:\n{zeros}");
    assert_eq!(ones.sum()?.item::<f32>()?, 6.0, "six ones add up to 6");
    assert_eq!(zeros.sum()?.item::<f32>()?, 0.0, "zeros add up to 0");
    let inside = rand.ge(0)?.all()?.item::<bool>()? && rand.lt(1)?.all()?.item::<bool>()?;
    assert!(inside, "rand draws from [0, 1)");
    Ok(())
}

/// A tensor knows its shape, its type and where it lives.
fn attributes() -> Result<()> {
    let tensor = Tensor::rand([3, 4])?;
    println!("Shape of tensor: {:?}", tensor.shape());
    println!("Datatype of tensor: {}", tensor.dtype());
    println!("Device tensor is stored on: {}", tensor.device());
    assert_eq!(tensor.shape(), [3, 4], "three rows of four");
    assert_eq!(tensor.dtype(), DType::F32, "f32 is the default type");
    assert_eq!(
        tensor.device(),
        Device::Cpu,
        "the CPU is the default device"
    );

    // To an accelerator where there is one; else this stays where it is.
    let device = Device::cuda_if_available(0);
    assert_eq!(tensor.to_device(device)?.device(), device, "it moved");
    Ok(())
}

/// Indices are numbers and ranges, one a dimension; what they pick can be read and set.
fn indexing_and_joining() -> Result<()> {
    let tensor = Tensor::ones([4, 4])?;
    tensor.set((.., 1), 0.0)?;
    println!("Second column zeroed:\n{tensor}");
    assert_eq!(
        tensor.i(0)?.to_vec::<f32>()?,
        [1.0, 0.0, 1.0, 1.0],
        "the first row"
    );
    assert_eq!(
        tensor.i((.., 0))?.to_vec::<f32>()?,
        [1.0; 4],
        "the first column"
    );
    assert_eq!(
        tensor.i((.., 1))?.to_vec::<f32>()?,
        [0.0; 4],
        "the second column"
    );
    assert_eq!(tensor.i((Ellipsis, -1))?.shape(), [4], "the last column");
    assert_eq!(
        tensor.i((1..3, ..2))?.shape(),
        [2, 2],
        "a slice of each dimension"
    );

    let t1 = Tensor::cat(&[&tensor, &tensor, &tensor], 1)?;
    println!("Three side by side:\n{t1}");
    assert_eq!(t1.shape(), [4, 12], "cat joins along the given dimension");
    Ok(())
}

/// Operators compute element by element and panic on a mistake; methods return a `Result`.
fn arithmetic() -> Result<()> {
    let tensor = Tensor::ones([4, 4])?;
    tensor.set((.., 1), 0.0)?;

    let product = tensor.mul(&tensor)?;
    println!(
        "tensor.mul(&tensor):\n{product}\n&tensor * &tensor:\n{}",
        &tensor * &tensor
    );
    assert!(
        close(&product, &(&tensor * &tensor))?,
        "two ways to write one product"
    );
    assert!(
        close(&product, &tensor)?,
        "the squares of 0 and 1 are 0 and 1"
    );

    let matrix = tensor.matmul(&tensor.t()?)?;
    println!("tensor.matmul(&tensor.t()):\n{matrix}");
    assert!(
        close(&matrix, &Tensor::full([4, 4], 3.0)?)?,
        "each row has three ones"
    );

    // A trailing underscore: in place.
    tensor.add_(5)?;
    println!("After add_(5):\n{tensor}");
    assert_eq!(
        tensor.i(0)?.to_vec::<f32>()?,
        [6.0, 5.0, 6.0, 6.0],
        "5 more everywhere"
    );
    Ok(())
}

/// Vectors and slices take the place of NumPy's arrays.
fn bridge_to_rust() -> Result<()> {
    let t = Tensor::ones(5)?;
    let n = t.to_vec::<f32>()?;
    println!("t: {t}\nn: {n:?}");

    // A Vec owns its numbers, so later changes of the tensor do not reach it. Code that wants to
    // look without copying borrows the tensor's own memory with `with_slice`.
    t.add_(1)?;
    assert_eq!(n, [1.0; 5], "the vector is a copy");
    let sum: f32 = t.with_slice::<f32, _>(|own| own.iter().sum())?;
    assert_eq!(sum, 10.0, "the slice is the tensor's memory, after add_");

    let back = Tensor::from_slice(&n, [5])?;
    println!("t: {t}\nback: {back}");
    assert_eq!(
        back.sum()?.item::<f32>()?,
        5.0,
        "from a slice to a tensor again"
    );
    Ok(())
}

/// `view` sees the same memory in another shape; one size may be left to be found out.
fn views() -> Result<()> {
    let x = Tensor::randn([4, 4])?;
    let (y, z) = (x.view(16)?, x.view([-1, 8])?);
    println!("{:?} {:?} {:?}", x.shape(), y.shape(), z.shape());
    assert_eq!(y.shape(), [16], "sixteen in a row");
    assert_eq!(z.shape(), [2, 8], "-1 stands for 16 / 8");
    assert!(z.shares_storage(&x), "a view copies nothing");

    let error = Tensor::randn(15)?.view([-1, 8]);
    let error = error.expect_err("15 elements do not fill rows of 8");
    println!("{error}");
    assert!(
        error.to_string().contains("15"),
        "the error gives the numbers"
    );
    Ok(())
}

// ---- 2. Automatic differentiation ------------------------------------------------------------

/// out = mean(3 (x + 2)²), so d out / dx = 6 (x + 2) / 4: 4.5 where x is 1.
fn first_gradient() -> Result<()> {
    let x = Tensor::ones([2, 2])?.requires_grad_(true)?;
    let y = &x + 2;
    println!("y = x + 2:\n{y}");
    assert!(x.grad_fn().is_none(), "the user made x: it is a leaf");
    let made_y = y.grad_fn().expect("y was recorded");
    assert_eq!(made_y.to_string(), "<AddBackward0>", "an addition made y");

    let z = &y * &y * 3;
    let out = z.mean()?;
    println!("z = y * y * 3:\n{z}\nout = {out}");
    assert_eq!(out.item::<f32>()?, 27.0, "3 * 3 * 3");

    out.backward()?;
    let grad = x.grad().expect("backward() filled the leaf's gradient");
    println!("d out / dx:\n{grad}");
    assert_eq!(grad.to_vec::<f32>()?, [4.5; 4], "4.5 everywhere");
    Ok(())
}

/// Q = 3a³ - b² is a vector, so `backward` is told which gradient to begin with.
fn external_gradient() -> Result<()> {
    let a = Tensor::new([2.0f32, 3.0])?.requires_grad_(true)?;
    let b = Tensor::new([6.0f32, 4.0])?.requires_grad_(true)?;
    let q = a.pow(3)? * 3 - b.pow(2)?;
    println!("Q = {q}");
    assert!(
        q.backward().is_err(),
        "only a single number has an implicit gradient"
    );

    let external = Tensor::new([1.0f32, 1.0])?;
    q.backward_with(Backward::new().gradient(&external))?;
    let (grad_a, grad_b) = (a.grad().expect("a has one"), b.grad().expect("b has one"));
    println!("dQ/da = {grad_a}\ndQ/db = {grad_b}");
    assert!(close(&grad_a, &(a.detach().pow(2)? * 9))?, "dQ/da = 9a²");
    assert!(close(&grad_b, &(b.detach() * -2))?, "dQ/db = -2b");
    Ok(())
}

/// In general `backward` gives vᵀJ: the Jacobian weighed by the vector handed in.
fn vector_jacobian_product() -> Result<()> {
    let x = Tensor::randn(3)?.requires_grad_(true)?;
    let mut y = &x * 2;
    let mut factor = 2.0;
    while y.detach().norm(2.0, (), false)?.item::<f32>()? < 1000.0 {
        y = y * 2;
        factor *= 2.0;
    }
    println!("y = {y}");

    let v = Tensor::new([0.1f32, 1.0, 0.0001])?;
    y.backward_with(Backward::new().gradient(&v))?;
    let grad = x.grad().expect("x is a leaf");
    println!("vᵀJ = {grad}");
    assert_eq!(
        grad.to_vec::<f32>()?,
        (&v * factor).to_vec::<f32>()?,
        "J is a multiple of the identity"
    );
    Ok(())
}

/// Two ways out of the graph: compute within `no_grad`, or `detach` a result.
fn without_a_graph() -> Result<()> {
    let x = Tensor::randn(3)?.requires_grad_(true)?;
    let recorded = x.pow(2)?.requires_grad();
    let unrecorded = no_grad(|| x.pow(2))?.requires_grad();
    println!("{} {recorded} {unrecorded}", x.requires_grad());
    assert!(recorded, "what is made of x requires gradients");
    assert!(!unrecorded, "but not within no_grad");

    let y = x.detach();
    println!("{}", y.requires_grad());
    assert!(!y.requires_grad(), "detached");
    assert!(x.eq(&y)?.all()?.item::<bool>()?, "with the same numbers");
    Ok(())
}

/// One input that requires gradients is enough; parameters that do not are frozen.
fn frozen_parameters() -> Result<()> {
    let (x, y) = (Tensor::rand([5, 5])?, Tensor::rand([5, 5])?);
    let z = Tensor::rand([5, 5])?.requires_grad_(true)?;
    println!("Does `a` require gradients? {}", (&x + &y).requires_grad());
    println!("Does `b` require gradients? {}", (&x + &z).requires_grad());
    assert!(!(&x + &y).requires_grad(), "neither operand does");
    assert!((&x + &z).requires_grad(), "one operand does");

    // Finetuning: freeze the network, give it a new head, and train that alone.
    let mut net = Net::new(1);
    net.requires_grad_(false)?;
    net.fc3 = Linear::new(84, 10);
    let before = net.state_dict().copy()?;
    let mut optimizer = Sgd::new(net.parameters(), 0.01).momentum(0.9);
    net.forward(&Tensor::randn([1, 1, 32, 32])?)?
        .sum()?
        .backward()?;
    optimizer.step()?;
    for (name, weights) in net.state_dict().iter() {
        let old = before.get(name).expect("the same names");
        let changed = weights.ne(old)?.any()?.item::<bool>()?;
        assert_eq!(
            changed,
            name.starts_with("fc3."),
            "{name}: only the head learns"
        );
    }
    Ok(())
}

// ---- 3. Neural networks ----------------------------------------------------------------------

/// The tutorial's network for pictures of 32 x 32: a plain struct of layers.
#[derive(Module)]
struct Net {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Net {
    fn new(channels: usize) -> Self {
        Self {
            conv1: Conv2d::new(channels, 6, 5),
            conv2: Conv2d::new(6, 16, 5),
            fc1: Linear::new(16 * 5 * 5, 120),
            fc2: Linear::new(120, 84),
            fc3: Linear::new(84, 10),
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(x)?.relu()?.max_pool2d(2)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?;
        let x = x.flatten(1, -1)?; // all dimensions but the batch
        let x = self.fc1.forward(&x)?.relu()?;
        let x = self.fc2.forward(&x)?.relu()?;
        self.fc3.forward(&x)
    }
}

/// Define the network, run it, measure the loss, go backward, update the weights.
fn neural_network() -> Result<()> {
    let net = Net::new(1);
    println!("{net}");

    let params = net.parameters();
    println!("{}\n{:?}", params.len(), params[0].shape());
    assert_eq!(params.len(), 10, "five layers, each with weight and bias");
    assert_eq!(params[0].shape(), [6, 1, 5, 5], "conv1's weight");

    let input = Tensor::randn([1, 1, 32, 32])?;
    let out = net.forward(&input)?;
    println!("{out}");
    assert_eq!(out.shape(), [1, 10], "one row of ten scores");

    net.zero_grad();
    out.backward_with(Backward::new().gradient(&Tensor::randn([1, 10])?))?;
    assert!(
        params.iter().all(|p| p.grad().is_some()),
        "every parameter got a gradient"
    );

    // The loss: how far the output is from a target, here an arbitrary one.
    let output = net.forward(&input)?;
    let target = Tensor::randn(10)?.view([1, -1])?;
    let criterion = MSELoss::new();
    let loss = criterion.forward(&output, &target)?;
    println!("{loss}");
    // From the loss back through the graph: mean, square, difference, and the last layer.
    let mut node = loss.grad_fn().expect("the loss was recorded");
    let mut names = vec![node.name()];
    while let Some(next) = node.next_functions().into_iter().flatten().next() {
        names.push(next.name());
        node = next;
    }
    println!("{}", names.join(" <- "));
    assert_eq!(names[3], "LinearBackward0", "fc3 made the output");
    assert_eq!(
        names.last().map(String::as_str),
        Some("AccumulateGrad"),
        "the graph ends at a parameter"
    );
    assert_eq!(loss.numel(), 1, "a loss is one number");

    // Gradients add up, so those of before are dropped first.
    net.zero_grad();
    let bias = net
        .conv1
        .bias
        .as_ref()
        .expect("a convolution has a bias by default");
    println!("conv1.bias.grad before backward\n{:?}", bias.grad());
    assert!(bias.grad().is_none(), "nothing yet");
    loss.backward()?;
    let grad = bias.grad().expect("backward() reached the first layer");
    println!("conv1.bias.grad after backward\n{grad}");
    assert_eq!(grad.shape(), [6], "one number a channel");

    // Stochastic gradient descent by hand: weight = weight - learning_rate * gradient.
    let learning_rate = 0.01;
    no_grad(|| -> Result<()> {
        for p in &params {
            let grad = p.grad().expect("every parameter got a gradient");
            p.sub_(grad.mul(learning_rate)?)?;
        }
        Ok(())
    })?;
    let by_hand = criterion.forward(&net.forward(&input)?, &target)?;
    assert!(
        by_hand.item::<f32>()? < loss.item::<f32>()?,
        "the step went downhill"
    );

    // The same by an optimizer, which has more rules than this one.
    let mut optimizer = Sgd::new(net.parameters(), 0.01);
    optimizer.zero_grad();
    let loss = criterion.forward(&net.forward(&input)?, &target)?;
    loss.backward()?;
    optimizer.step()?;
    let by_optimizer = criterion.forward(&net.forward(&input)?, &target)?;
    assert!(
        by_optimizer.item::<f32>()? < loss.item::<f32>()?,
        "and so did this one"
    );
    println!("loss: {loss}, then {by_optimizer}");
    Ok(())
}

// ---- 4. Training a classifier ----------------------------------------------------------------

/// Mean and standard deviation that bring pixels from [0, 1] to [-1, 1].
const HALF: [f64; 3] = [0.5; 3];

/// Load pictures, define a network and a loss, train, test: here on the pictures of clothes that
/// the program carries with it. `Cifar10::train("./data")?` in their place makes it the tutorial's.
fn classifier() -> Result<()> {
    let device = Device::cuda_if_available(0);
    println!("{device}");

    // 1. Data, normalised and in batches.
    let transform = || {
        Compose::new()
            .then(ToTensor)
            .then(Normalize::new(HALF, HALF))
    };
    let trainset = FashionSample::train()?.transform(transform());
    let testset = FashionSample::test()?.transform(transform());
    let classes = trainset.classes().to_vec();
    let trainloader = DataLoader::new(trainset)
        .batch_size(4)
        .shuffle(true)
        .num_workers(2);
    let testloader = DataLoader::new(testset).batch_size(4).num_workers(2);

    let folder = std::env::temp_dir().join(format!("flambeau-tutorial-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    show_some(&trainloader, &classes, &folder.join("some.png"))?;

    // 2. The network, 3. its loss and optimizer.
    let net = Net::new(3).to(device)?;
    let criterion = CrossEntropyLoss::new();
    let mut optimizer = Sgd::new(net.parameters(), 0.001).momentum(0.9);

    // 4. Training, once over the data.
    let mut losses = Vec::new();
    let mut running_loss = 0.0;
    for (i, batch) in trainloader.iter().enumerate() {
        let (inputs, labels) = batch?.to(device)?;
        optimizer.zero_grad();
        let loss = criterion.forward(&net.forward(&inputs)?, &labels)?;
        loss.backward()?;
        optimizer.step()?;

        running_loss += loss.item::<f32>()?;
        if i % 500 == 499 {
            println!("[1, {:5}] loss: {:.3}", i + 1, running_loss / 500.0);
            losses.push(running_loss / 500.0);
            running_loss = 0.0;
        }
    }
    println!("Finished Training");
    assert_eq!(losses.len(), 3, "6,000 pictures are 1,500 batches of 4");
    assert!(losses[2] < losses[0], "the loss fell: {losses:?}");

    // What was learned outlives the program: save the weights, load them into a new network.
    let path = folder.join("net.safetensors");
    net.state_dict().save(&path)?;
    let net = Net::new(3);
    net.load_state_dict(&StateDict::load(&path)?, true)?;
    std::fs::remove_dir_all(&folder).expect("the temporary folder can be removed");

    // 5. Testing, on pictures that it has not seen.
    test(&net.to(device)?, &testloader, &classes, device)
}

/// Writes one batch as a picture and prints its labels.
fn show_some(loader: &DataLoader, classes: &[String], path: &std::path::Path) -> Result<()> {
    let (images, labels) = loader.iter().next().expect("there is a batch")?;
    assert_eq!(
        images.shape(),
        [4, 3, 32, 32],
        "four pictures of three channels"
    );
    let picture = make_grid(&images)? / 2 + 0.5; // undoes the normalisation
    save_image(&picture, path)?;
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    assert!(size > 0, "the picture was written");
    let labels = labels.to_vec::<i64>()?;
    let names: Vec<&str> = labels
        .iter()
        .map(|&l| classes[l as usize].as_str())
        .collect();
    println!("{}", names.join(" "));
    Ok(())
}

/// Prints the accuracy of `net`, over all and for each class.
fn test(net: &Net, loader: &DataLoader, classes: &[String], device: Device) -> Result<()> {
    let mut correct = vec![0; classes.len()];
    let mut total = vec![0; classes.len()];
    no_grad(|| -> Result<()> {
        for batch in loader {
            let (images, labels) = batch?.to(device)?;
            // The class of the highest score is the prediction.
            let (_, predicted) = net.forward(&images)?.max_dim(1, false)?;
            let (labels, predicted) = (labels.to_vec::<i64>()?, predicted.to_vec::<i64>()?);
            for (label, prediction) in labels.into_iter().zip(predicted) {
                total[label as usize] += 1;
                correct[label as usize] += usize::from(label == prediction);
            }
        }
        Ok(())
    })?;

    let percent = |right: usize, all: usize| 100.0 * right as f64 / all as f64;
    let all: usize = total.iter().sum();
    let accuracy = percent(correct.iter().sum(), all);
    println!("Accuracy of the network on the {all} test images: {accuracy:.1} %");
    assert_eq!(all, 1000, "every test picture was seen once");
    assert!(
        accuracy > 50.0,
        "chance gives 10 %, one epoch much more: {accuracy:.1} %"
    );
    for (i, name) in classes.iter().enumerate() {
        println!(
            "Accuracy for class: {name:11} is {:5.1} %",
            percent(correct[i], total[i])
        );
    }
    Ok(())
}
