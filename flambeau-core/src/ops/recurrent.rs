//! Recurrence over a sequence, one layer in one direction: LSTM, GRU, tanh and ReLU.
//!
//! `flambeau_cpu::recurrent` computes values and first gradients; gradients of higher order, and
//! LSTM with a projection, go through the composite twin.

use crate::autograd::{by_twin, is_grad_enabled};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::to_contiguous;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Device, Result, bail};
use flambeau_cpu::recurrent::{Recurrent, Steps};
use smallvec::smallvec;

pub use flambeau_cpu::recurrent::Cell as RecurrentCell;

const OP: &str = "recurrent";

/// What [`Tensor::recurrent`] steps with.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentOptions<'a> {
    /// The kind.
    pub cell: RecurrentCell,
    /// Whether the last step comes first.
    pub reverse: bool,
    /// `[gates · hidden, state]`: from the state before to the gates. LSTM has four gates (i, f, g,
    /// o), GRU three (r, z, n), the others one.
    pub weight: &'a Tensor,
    /// `[3 · hidden]`: GRU's bias of the state's part of the gates. The others have all of their bias
    /// in the input.
    pub bias: Option<&'a Tensor>,
    /// `[state, hidden]`: LSTM's projection of the output to a smaller state.
    pub projection: Option<&'a Tensor>,
}

/// Inputs `(x, weight, h0)` and LSTM's `c0` or GRU's `bias`; the result `[steps, batch, hidden]` has
/// LSTM's last cell as one row more, the extra result what the backward pass reads.
#[derive(Debug)]
struct Recurrence {
    cell: RecurrentCell,
    reverse: bool,
}

impl Recurrence {
    fn steps(&self, x: &[usize]) -> Steps {
        Steps {
            cell: self.cell,
            steps: x[0],
            batch: x[1],
            hidden: x[2] / self.cell.gates(),
            reverse: self.reverse,
        }
    }

    fn lstm(&self) -> bool {
        self.cell == RecurrentCell::Lstm
    }

    fn run<T: Recurrent + Stored>(&self, inputs: &[Tensor], dtype: DType) -> Result<Output> {
        let s = self.steps(inputs[0].shape());
        let (n, h, kept) = (s.batch, s.hidden, s.cell.kept());
        let keep = Tensor::empty_with([s.steps, n, kept * h], (dtype, Device::Cpu))?;
        let reads: Vec<_> = inputs.iter().map(Tensor::read).collect();
        let slice = |i: usize| &reads[i].slice::<T>()[..inputs[i].numel()];
        let last = inputs.get(3).map_or(&[][..], |_| slice(3));
        let (bias, c0) = if self.lstm() {
            (&[][..], last)
        } else {
            (last, &[][..])
        };
        // A GRU without biases has zeros.
        let zeros = vec![
            T::ZERO;
            if self.cell == RecurrentCell::Gru {
                3 * h
            } else {
                0
            }
        ];
        let bias = if bias.is_empty() { &zeros } else { bias };
        let states = s.steps * n * h;
        let shape = [s.steps + usize::from(self.lstm()), n, h];
        let mut write = keep.write();
        let keeping = write.slice::<T>();
        let out = Tensor::build::<T>(OP, &shape, dtype, |out| {
            let (out, cell) = out.split_at_mut(states);
            s.forward(slice(0), slice(1), bias, slice(2), c0, out, keeping);
            if n * h > 0 && self.lstm() {
                let at = if s.reverse { 0 } else { s.steps - 1 };
                let rows = keeping[at * n * kept * h..].chunks_exact(kept * h);
                for (c, row) in cell.chunks_exact_mut(h).zip(rows) {
                    c.copy_from_slice(&row[4 * h..]);
                }
            }
        })?;
        drop(write);
        Ok(Output {
            tensor: out,
            extras: smallvec![keep],
        })
    }

    fn gradient<T: Recurrent + Stored>(
        &self,
        ctx: &Ctx<'_>,
        grad: &Tensor,
        dtype: DType,
    ) -> Result<Grads> {
        let count = ctx.input_count();
        let inputs = (0..count)
            .map(|i| to_contiguous(OP, &ctx.input(i)?, dtype))
            .collect::<Result<Vec<_>>>()?;
        let (out, keep) = (ctx.output()?, ctx.extra(0));
        let grad = to_contiguous(OP, grad, dtype)?;
        let s = self.steps(inputs[0].shape());
        let states = s.steps * s.batch * s.hidden;
        let grads = inputs
            .iter()
            .map(|x| Tensor::empty_with(x.shape(), (dtype, Device::Cpu)))
            .collect::<Result<Vec<_>>>()?;
        {
            let (reads, mut writes): (Vec<_>, Vec<_>) = (inputs.iter().zip(&grads))
                .map(|(x, g)| (x.read(), g.write()))
                .unzip();
            let (out_read, keep, grad) = (out.read(), keep.read(), grad.read());
            let slice = |i: usize| &reads[i].slice::<T>()[..inputs[i].numel()];
            let (dout, dlast) = grad.slice::<T>()[..grads_len(&s, self.lstm())].split_at(states);
            let mut parts = writes.iter_mut().map(|w| w.slice::<T>());
            let (Some(dx), Some(dw), Some(dh)) = (parts.next(), parts.next(), parts.next()) else {
                bail!(OP, "three inputs were saved");
            };
            let last = parts.next().unwrap_or_default();
            let (db, dc, c0): (_, _, &[T]) = match self.lstm() {
                true => {
                    last.copy_from_slice(dlast);
                    (&mut [][..], last, slice(3))
                }
                false => (last, &mut [][..], &[]),
            };
            s.backward(
                slice(1),
                slice(2),
                c0,
                &out_read.slice::<T>()[..states],
                &keep.slice::<T>()[..states * s.cell.kept()],
                dout,
                dx,
                dw,
                db,
                dh,
                dc,
            );
        }
        Ok(grads.into_iter().map(Some).collect())
    }
}

/// Elements of the result.
fn grads_len(s: &Steps, lstm: bool) -> usize {
    (s.steps + usize::from(lstm)) * s.batch * s.hidden
}

impl Op for Recurrence {
    fn name(&self) -> &'static str {
        match self.cell {
            RecurrentCell::Lstm => "lstm",
            RecurrentCell::Gru => "gru",
            RecurrentCell::Tanh => "rnn_tanh",
            RecurrentCell::Relu => "rnn_relu",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = inputs[0].dtype();
        let inputs = inputs
            .iter()
            .map(|x| to_contiguous(OP, x, dtype))
            .collect::<Result<Vec<_>>>()?;
        match dtype {
            DType::F64 => self.run::<f64>(&inputs, dtype),
            _ => self.run::<f32>(&inputs, dtype),
        }
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = inputs[0].dtype();
        let inputs = inputs.iter().map(|x| x.to_dtype(dtype));
        Ok(self.twin(&inputs.collect::<Result<Vec<_>>>()?)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        let two = Saves::OUTPUT.input(0).input(1);
        two.input(2).input(3)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        if is_grad_enabled() || grad.on_cuda() {
            return by_twin(ctx, grad, &|inputs| self.twin(inputs));
        }
        match ctx.extra(0).dtype() {
            DType::F64 => self.gradient::<f64>(ctx, grad, DType::F64),
            dtype => self.gradient::<f32>(ctx, grad, dtype),
        }
    }
}

impl Recurrence {
    /// The same from plain operations.
    fn twin(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let last = inputs.get(3);
        let (c0, bias) = if self.lstm() {
            (last, None)
        } else {
            (None, last)
        };
        let (mut rows, cell) =
            self.composite(&inputs[0], &inputs[1], &inputs[2], c0, bias, None)?;
        rows.extend(cell);
        Tensor::stack(&rows, 0)
    }

    /// The states, by time, and LSTM's last cell, with plain operations.
    fn composite(
        &self,
        x: &Tensor,
        weight: &Tensor,
        h0: &Tensor,
        c0: Option<&Tensor>,
        bias: Option<&Tensor>,
        projection: Option<&Tensor>,
    ) -> Result<(Vec<Tensor>, Option<Tensor>)> {
        let steps = x.shape()[0];
        let (mut h, mut c) = (h0.clone(), c0.cloned());
        let mut states = Vec::with_capacity(steps);
        for i in 0..steps {
            let t = if self.reverse { steps - 1 - i } else { i };
            let x = x.select(0, t as i64)?;
            let g = h.linear(weight, bias)?;
            h = match (self.cell, &mut c) {
                (RecurrentCell::Lstm, Some(c)) => {
                    let [i, f, n, o] = &x.add(&g)?.chunk(4, -1)?[..] else {
                        bail!(OP, "LSTM has four gates");
                    };
                    let new = i.sigmoid()?.mul(&n.tanh()?)?;
                    *c = f.sigmoid()?.mul(&*c)?.add(&new)?;
                    let out = o.sigmoid()?.mul(&c.tanh()?)?;
                    match projection {
                        Some(p) => out.linear(p, None)?,
                        None => out,
                    }
                }
                (RecurrentCell::Gru, _) => {
                    let (x, g) = (x.chunk(3, -1)?, g.chunk(3, -1)?);
                    let r = x[0].add(&g[0])?.sigmoid()?;
                    let z = x[1].add(&g[1])?.sigmoid()?;
                    let n = x[2].add(&r.mul(&g[2])?)?.tanh()?;
                    n.add(&z.mul(&h.sub(&n)?)?)?
                }
                (RecurrentCell::Relu, _) => x.add(&g)?.relu()?,
                _ => x.add(&g)?.tanh()?,
            };
            states.push(h.clone());
        }
        if self.reverse {
            states.reverse();
        }
        Ok((states, c))
    }
}

impl Tensor {
    /// One layer of a recurrent network in one direction, whose inputs are projected already
    /// ([`torch.nn.RNN`](https://pytorch.org/docs/stable/generated/torch.nn.RNN.html), `LSTM`,
    /// `GRU`): this tensor `[steps, batch, gates · hidden]` is `x W_ihᵀ` with
    /// the biases. Gives all states `[steps, batch, state]`, the last one in the order of steps, and
    /// LSTM's last cell.
    ///
    /// `h0` is `[batch, state]`, LSTM's `c0` `[batch, hidden]`. `f16` and `bf16` are computed in `f32`.
    /// Where a wider state meets narrower gates, as under autocast, GRU's state and LSTM's cell keep
    /// the wider type, and with the cell what is made of it.
    ///
    /// ```
    /// use flambeau_core::{RecurrentCell, RecurrentOptions, Tensor};
    /// let x = Tensor::new([[[1.0f32]], [[-2.0]], [[3.0]]])?;
    /// let options = RecurrentOptions {
    ///     cell: RecurrentCell::Relu,
    ///     reverse: false,
    ///     weight: &Tensor::new([[0.5f32]])?,
    ///     bias: None,
    ///     projection: None,
    /// };
    /// let (out, h, c) = x.recurrent(&Tensor::zeros([1, 1])?, None, options)?;
    /// assert_eq!(out.to_vec::<f32>()?, [1.0, 0.0, 3.0]);
    /// assert!(h.item::<f32>()? == 3.0 && c.is_none());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For a sequence without steps, and where shapes or types do not fit.
    #[track_caller]
    pub fn recurrent(
        &self,
        h0: &Tensor,
        c0: Option<&Tensor>,
        options: RecurrentOptions<'_>,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        check(self, h0, c0, &options)?;
        let RecurrentOptions {
            cell,
            reverse,
            weight,
            bias,
            projection,
        } = options;
        let op = Recurrence { cell, reverse };
        // As PyTorch's steps promote: an RNN's state is made of products alone, GRU's of the state
        // before too, LSTM's of the cell, of which a projection is a product again.
        let kept = match cell {
            RecurrentCell::Gru => DType::promote(self.dtype(), h0.dtype()),
            RecurrentCell::Lstm => {
                c0.map_or(self.dtype(), |c| DType::promote(self.dtype(), c.dtype()))
            }
            _ => self.dtype(),
        };
        let dtype = if projection.is_some() {
            self.dtype()
        } else {
            kept
        };
        let &[steps, batch, _] = self.shape() else {
            bail!(OP, "the input was checked");
        };
        let state = weight.shape()[1];
        if batch == 0 || state == 0 && projection.is_none() {
            // As many steps as a number can say, and nothing to do in any.
            let empty = |shape: &[usize], dtype| Tensor::zeros_with(shape, (dtype, self.device()));
            let c = c0.map(|c| empty(c.shape(), kept)).transpose()?;
            let h = empty(&[batch, state], dtype)?;
            return Ok((empty(&[steps, batch, state], dtype)?, h, c));
        }
        let lane = if kept == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let into = |t: &Tensor| t.to_dtype(lane);
        let c0 = c0.map(into).transpose()?;
        let (x, weight, h0) = (into(self)?, into(weight)?, into(h0)?);
        let bias = bias.map(into).transpose()?;
        let last = if reverse { 0 } else { steps as i64 - 1 };
        let (out, c) = if let Some(p) = projection {
            let (states, c) = op.composite(&x, &weight, &h0, c0.as_ref(), None, Some(&into(p)?))?;
            (Tensor::stack(&states, 0)?, c)
        } else {
            let lstm = op.lstm();
            let out = match c0.as_ref().or(bias.as_ref()) {
                Some(more) => dispatch::call(op, &[&x, &weight, &h0, more])?,
                None => dispatch::call(op, &[&x, &weight, &h0])?,
            };
            if lstm {
                let c = out.select(0, steps as i64)?;
                (out.narrow(0, 0, steps)?, Some(c))
            } else {
                (out, None)
            }
        };
        let out = out.to_dtype(dtype)?;
        let c = c.map(|c| c.to_dtype(kept)).transpose()?;
        let h = out.select(0, last)?;
        Ok((out, h, c))
    }
}

#[track_caller]
fn check(
    x: &Tensor,
    h0: &Tensor,
    c0: Option<&Tensor>,
    options: &RecurrentOptions<'_>,
) -> Result<()> {
    let cell = options.cell;
    let gates = cell.gates();
    let weight = options.weight;
    let (&[steps, batch, width], &[rows, state]) = (x.shape(), weight.shape()) else {
        bail!(
            OP,
            "got input {:?} and weight {:?}; need [steps, batch, gates · hidden] and [gates · hidden, state]",
            x.shape(),
            weight.shape()
        );
    };
    let all = [Some(weight), Some(h0), c0, options.bias, options.projection];
    if !x.dtype().is_floating_point()
        || all.iter().flatten().any(|t| !t.dtype().is_floating_point())
    {
        bail!(
            OP,
            "all tensors must be of a floating-point type; the input is {}",
            x.dtype()
        );
    }
    if steps == 0 {
        bail!(
            OP,
            "the sequence has no steps: input {:?}; one is needed at least",
            x.shape()
        );
    }
    let hidden = width / gates;
    let expected_state = options
        .projection
        .map_or(hidden, |p| p.shape().first().copied().unwrap_or(0));
    if width != gates * hidden || rows != width || state != expected_state {
        bail!(
            OP,
            "input {:?} and weight {:?} do not fit; need {gates} · hidden columns of the input, as many rows of the weight, and {expected_state} columns",
            x.shape(),
            weight.shape()
        );
    }
    let lstm = cell == RecurrentCell::Lstm;
    if c0.is_some() != lstm || options.bias.is_some() && cell != RecurrentCell::Gru {
        bail!(
            OP,
            "{cell:?} takes {}",
            match cell {
                RecurrentCell::Lstm => "a cell to begin with, and no bias",
                RecurrentCell::Gru => "no cell",
                _ => "neither cell nor bias",
            }
        );
    }
    if options
        .projection
        .is_some_and(|p| !lstm || p.shape() != [state, hidden])
    {
        bail!(
            OP,
            "a projection is LSTM's alone, of shape [state, hidden] = {:?}",
            [state, hidden]
        );
    }
    let bias = options.bias.map(Tensor::shape);
    for (name, shape, need) in [
        ("h0", Some(h0.shape()), &[batch, state][..]),
        ("c0", c0.map(Tensor::shape), &[batch, hidden]),
        ("the bias", bias, &[width]),
    ] {
        if shape.is_some_and(|s| s != need) {
            bail!(
                OP,
                "{name} has shape {:?}; it must be {need:?}",
                shape.unwrap_or_default()
            );
        }
    }
    Ok(())
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let t = |shape: &[usize]| Arg::uniform(shape, (-1.0, 1.0));
    // The input's projection is the identity, so that PyTorch sees the same input.
    let torch = |call: &str, state: &str| {
        format!(
            "lambda x, w, h, *r: (lambda f, e: (lambda o: (f(o[0]), *o[1:]))(torch._VF.{call}(f(x), {state}, [e, w] + ([torch.zeros_like(r[0]), r[0]] if {biased} and r[0] is not None else []), {biased} and r[0] is not None, 1, 0.0, False, False, False)))((lambda y: y.flip(0)) if r[-1] else (lambda y: y), torch.eye(x.shape[-1], dtype=x.dtype))",
            biased = if call == "gru" { "True" } else { "False" },
        )
    };
    let spec = |name: &'static str, torch: String, cell: RecurrentCell| {
        OpSpec::new(name, torch, move |a| {
            let (lstm, gru) = (cell == RecurrentCell::Lstm, cell == RecurrentCell::Gru);
            let options = RecurrentOptions {
                cell,
                reverse: a[a.len() - 1].bool()?,
                weight: a[1].tensor()?,
                bias: if gru { a[3].tensor_opt()? } else { None },
                projection: None,
            };
            let c0 = if lstm { a[3].tensor_opt()? } else { None };
            let (out, h, c) = a[0].tensor()?.recurrent(a[2].tensor()?, c0, options)?;
            // PyTorch's last state has a dimension for layers.
            let one = |t: Tensor| t.unsqueeze(0);
            [Some(Ok(out)), Some(one(h)), c.map(one)]
                .into_iter()
                .flatten()
                .collect()
        })
    };
    let args = |x: &[usize], w: &[usize], h: &[usize], more: Option<Arg>, reverse: bool| {
        let mut args = vec![t(x), t(w), t(h)];
        args.extend(more);
        args.push(Arg::B(reverse));
        args
    };
    let sample = |x: &[usize], w: &[usize], h: &[usize], more: Option<Arg>, reverse: bool| {
        Sample::new(args(x, w, h, more, reverse))
    };
    let plain = |name, call: &str, cell| {
        spec(name, torch(call, "h[None]"), cell).samples(vec![
            sample(&[4, 2, 3], &[3, 3], &[2, 3], None, false),
            sample(&[4, 2, 3], &[3, 3], &[2, 3], None, true),
        ])
    };
    vec![
        spec(
            "lstm",
            torch("lstm", "(h[None], r[0][None])"),
            RecurrentCell::Lstm,
        )
        .samples(vec![
            sample(&[4, 2, 12], &[12, 3], &[2, 3], Some(t(&[2, 3])), false),
            sample(&[4, 2, 12], &[12, 3], &[2, 3], Some(t(&[2, 3])), true),
            sample(&[1, 3, 4], &[4, 1], &[3, 1], Some(t(&[3, 1])), false),
        ])
        .errors(vec![
            (
                args(&[0, 2, 12], &[12, 3], &[2, 3], Some(t(&[2, 3])), false),
                "the sequence has no steps",
            ),
            (
                args(&[4, 2, 12], &[12, 3], &[2, 4], Some(t(&[2, 3])), false),
                "h0 has shape [2, 4]; it must be [2, 3]",
            ),
            (
                args(&[4, 2, 12], &[12, 3], &[2, 3], Some(Arg::Nil), false),
                "takes a cell to begin with",
            ),
            (
                args(&[4, 2, 11], &[12, 3], &[2, 3], Some(t(&[2, 3])), false),
                "do not fit; need 4 · hidden",
            ),
        ]),
        spec("gru", torch("gru", "h[None]"), RecurrentCell::Gru).samples(vec![
            sample(&[4, 2, 9], &[9, 3], &[2, 3], Some(t(&[9])), false),
            sample(&[4, 2, 9], &[9, 3], &[2, 3], Some(t(&[9])), true),
            sample(&[3, 2, 6], &[6, 2], &[2, 2], Some(Arg::Nil), false),
        ]),
        plain("rnn_tanh", "rnn_tanh", RecurrentCell::Tanh),
        plain("rnn_relu", "rnn_relu", RecurrentCell::Relu),
    ]
}
