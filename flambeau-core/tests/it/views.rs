//! Random programs of views, in-place operations and gradients against PyTorch: see
//! `goldens/io/make_programs.py`, which says what the file holds.

use flambeau_core::autograd::{Grad, grad};
use flambeau_core::{DType, Error, Result, Tensor, set_grad_enabled};
use std::collections::BTreeMap;

#[derive(Default)]
struct Run {
    names: Vec<String>,
    tensors: BTreeMap<String, Tensor>,
    no_grad: bool,
    made: usize,
}

fn ints(s: &str) -> Vec<i64> {
    s.split(',').map(|v| v.parse().unwrap()).collect()
}

fn int(s: &str) -> i64 {
    s.parse().unwrap()
}

impl Run {
    fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    /// A tensor, or a number as a 0-d one.
    fn step(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let _mode = set_grad_enabled(!self.no_grad);
        if words[1] == "=" {
            let x = self.make(words[2], &words[3..])?;
            self.names.push(words[0].into());
            self.tensors.insert(words[0].into(), x);
            Ok(())
        } else {
            self.act(words[0], &words[1..])
        }
    }

    fn make(&mut self, op: &str, a: &[&str]) -> Result<Tensor> {
        if op == "leaf" || op == "const" {
            self.made += 1;
            let shape = ints(a[0]);
            let n = shape.iter().product::<i64>() as usize;
            let data: Vec<f64> = (0..n)
                .map(|i| ((7 * i + 3 * self.made + 5) % 13) as f64)
                .map(|v| (v - 6.0) / 4.0 + 0.125)
                .collect();
            return Tensor::from_vec(data, shape)?.requires_grad_(op == "leaf");
        }
        let (x, n) = (self.get(a[0]), &a[1..]);
        match op {
            "exp" => x.exp(),
            "tanh" => x.tanh(),
            "square" => x.square(),
            "neg" => x.neg(),
            "add" => match n[0].parse::<f64>() {
                Ok(v) => x.add(v),
                Err(_) => x.add(self.get(n[0])),
            },
            "mul" => match n[0].parse::<f64>() {
                Ok(v) => x.mul(v),
                Err(_) => x.mul(self.get(n[0])),
            },
            "view" => x.view(ints(n[0])),
            "reshape" => x.reshape(ints(n[0])),
            "expand" => x.expand(ints(n[0])),
            "permute" => x.permute(ints(n[0])),
            "transpose" => x.transpose(int(n[0]), int(n[1])),
            "select" => x.select(int(n[0]), int(n[1])),
            "narrow" => x.narrow(int(n[0]), int(n[1]), int(n[2]) as usize),
            "unsqueeze" => x.unsqueeze(int(n[0])),
            "flatten" => x.flatten(int(n[0]), int(n[1])),
            "unfold" => x.unfold(int(n[0]), int(n[1]) as usize, int(n[2]) as usize),
            "diagonal" => x.diagonal(int(n[0]), int(n[1]), int(n[2])),
            "movedim" => x.movedim(int(n[0]), int(n[1])),
            "slice" => x.slice(
                int(n[0]),
                int(n[1]) as usize,
                int(n[2]) as usize,
                int(n[3]) as usize,
            ),
            "as_strided" => x.as_strided(ints(n[0]), ints(n[1]), int(n[2]) as usize),
            "unflatten" => x.unflatten(int(n[0]), ints(n[1])),
            "squeeze" => x.squeeze(),
            "copy" => x.copy(),
            "contiguous" => x.contiguous(),
            "detach" => Ok(x.detach()),
            other => panic!("unknown operation {other}"),
        }
    }

    fn act(&mut self, op: &str, a: &[&str]) -> Result<()> {
        if op == "no_grad" {
            self.no_grad = a[0] == "on";
            return Ok(());
        }
        let x = self.get(a[0]);
        let number = a.get(1).and_then(|v| v.parse::<f64>().ok());
        match (op, number) {
            ("retain", _) => return x.retain_grad(),
            ("hook", Some(c)) => return x.register_hook(move |g| g.mul(c).map(Some)).map(|_| ()),
            ("tanh_", _) => x.tanh_(),
            ("neg_", _) => x.neg_(),
            ("square_", _) => x.square_(),
            ("exp_", _) => x.exp_(),
            ("zero_", _) => x.zero_(),
            ("fill_", Some(v)) => x.fill_(v),
            ("mul_", Some(v)) => x.mul_(v),
            ("add_", Some(v)) => x.add_(v),
            ("mul_", None) => x.mul_(self.get(a[1])),
            ("add_", None) => x.add_(self.get(a[1])),
            ("copy_", None) => x.copy_(self.get(a[1])),
            other => panic!("unknown operation {other:?}"),
        }
        .map(|_| ())
    }

    fn loss(&self) -> Result<Tensor> {
        let mut loss = Tensor::zeros_with((), DType::F64)?;
        for (k, name) in self.names.iter().enumerate() {
            let t = self.get(name);
            if t.requires_grad() && t.numel() > 0 {
                let weights: Vec<f64> = (0..t.numel())
                    .map(|i| (((5 * i + 2 * k) % 7) as f64 - 3.0) / 2.0)
                    .collect();
                let weights = Tensor::from_vec(weights, t.numel())?;
                loss = loss.add(t.reshape(-1)?.mul(&weights)?.sum()?)?;
            }
        }
        Ok(loss)
    }
}

fn check(what: &str, got: Option<&Tensor>, want: &str) -> Result<(), String> {
    let got = match got {
        None if want == "none" => return Ok(()),
        None => return Err(format!("{what}: none, expected {want}")),
        Some(_) if want == "none" => return Err(format!("{what}: a gradient, expected none")),
        Some(t) => t.to_vec::<f64>().map_err(|e| e.to_string())?,
    };
    let want: Vec<f64> = want
        .split_whitespace()
        .map(|v| v.parse().unwrap())
        .collect();
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-8 * (1.0 + b.abs());
    if got.len() == want.len() && got.iter().zip(&want).all(close) {
        Ok(())
    } else {
        Err(format!("{what}: {got:?}, expected {want:?}"))
    }
}

fn run(program: &str) -> Result<(), String> {
    let fail = |e: Error| e.to_string();
    let mut run = Run::default();
    let mut lines = program.lines().peekable();
    while let Some(line) = lines.next_if(|l| !l.starts_with('>')) {
        match line.strip_prefix("! ") {
            None => run.step(line).map_err(fail)?,
            Some(line) => {
                if run.step(line).is_ok() {
                    return Err(format!("{line:?} should be refused"));
                }
            }
        }
    }
    while let Some(line) = lines.next_if(|l| l.starts_with('>')) {
        let mut words = line.splitn(4, ' ').skip(1);
        let (name, tracked) = (words.next().unwrap(), words.next().unwrap());
        let t = run.get(name);
        check(name, Some(t), words.next().unwrap_or(""))?;
        if t.requires_grad() != (tracked == "1") {
            return Err(format!("{name}: requires_grad is {}", t.requires_grad()));
        }
    }
    let rest: Vec<&str> = lines.collect();
    let loss = run.loss().map_err(fail)?;
    let outcome = if rest[0] == "second" {
        let firsts: Vec<(&str, &str)> = rest
            .iter()
            .filter_map(|l| l.strip_prefix("f "))
            .map(|l| l.split_once(' ').unwrap())
            .collect();
        let leaves: Vec<&Tensor> = run
            .names
            .iter()
            .map(|n| run.get(n))
            .filter(|t| t.requires_grad() && t.is_leaf())
            .collect();
        let options = Grad {
            create_graph: true,
            allow_unused: true,
            ..Grad::default()
        };
        grad(&[&loss], &leaves, &[], options)
            .map(Some)
            .and_then(|grads| {
                let mut total: Option<Tensor> = None;
                for ((name, want), g) in firsts.iter().zip(grads.unwrap_or_default()) {
                    check(name, g.as_ref(), want).map_err(|e| Error::new("first", e))?;
                    if let Some(g) = g.filter(Tensor::requires_grad) {
                        let part = g.square()?.sum()?;
                        total = Some(match total {
                            None => part,
                            Some(t) => t.add(&part)?,
                        });
                    }
                }
                total.map_or(Ok(()), |t| t.backward())
            })
    } else {
        loss.backward()
    };
    match (rest.last().unwrap().strip_prefix("error "), outcome) {
        (Some("inplace"), Err(e)) if e.to_string().contains("changed in place") => return Ok(()),
        (Some(why), Ok(())) => return Err(format!("backward should fail: {why}")),
        (Some(why), Err(e)) => return Err(format!("backward should fail with {why}: {e}")),
        (None, Err(e)) => return Err(fail(e)),
        (None, Ok(())) => {}
    }
    for line in rest.iter().filter_map(|l| l.strip_prefix("g ")) {
        let (name, want) = line.split_once(' ').unwrap();
        check(
            &format!("gradient of {name}"),
            run.get(name).grad().as_ref(),
            want,
        )?;
    }
    Ok(())
}

#[test]
fn programs_give_what_pytorch_gives() {
    let text = match std::env::var("FLAMBEAU_PROGRAMS") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("../goldens/io/programs.txt").to_string(),
    };
    let programs: Vec<&str> = text.split("\n\n").collect();
    assert!(programs.len() > 100);
    let failures: Vec<String> = programs
        .iter()
        .filter_map(|p| run(p).err().map(|e| format!("{e}\nin\n{p}\n")))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} programs:\n{}",
        failures.len(),
        programs.len(),
        failures[..failures.len().min(5)].join("\n")
    );
}
