//! Recurrent layers and their cells.

use super::{nothing, py, py_bool};
use crate::init::{self, Draw};
use crate::module::{Item, ItemMut, Module, Visit, VisitMut};
use crate::parameter::{Mode, Parameter};
use crate::warnings::check_mode;
use flambeau_core::{
    DType, RecurrentCell, RecurrentOptions, Result, Tensor, autocast_dtype_on, bail,
};
use flambeau_macros::Module;
use std::fmt;

/// What decides about the parameters.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    input: usize,
    hidden: usize,
    /// Numbers of LSTM's projected state; 0 for none.
    projected: usize,
    layers: usize,
    bias: bool,
    bidirectional: bool,
}

impl Sizes {
    fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// Numbers of a state.
    fn state(&self) -> usize {
        match self.projected {
            0 => self.hidden,
            p => p,
        }
    }

    /// Parameters of one layer in one direction.
    fn group(&self) -> usize {
        2 + 2 * usize::from(self.bias) + usize::from(self.projected > 0)
    }

    /// Every parameter, drawn in PyTorch's order: each uniform within 1 / √hidden.
    #[track_caller]
    fn draw(self, gates: usize) -> Result<Vec<(String, Parameter)>> {
        let bound = 1.0 / (self.hidden as f64).sqrt();
        if self.hidden == 0 || self.layers == 0 {
            bail!(
                "recurrent",
                "hidden_size {} and num_layers {} must not be 0",
                self.hidden,
                self.layers
            );
        }
        // Ten times what anybody has trained; without a bound, building would not come back.
        const LAYERS: usize = 1 << 16;
        if self.layers > LAYERS {
            bail!(
                "recurrent",
                "num_layers {} is beyond {LAYERS}, the most there may be",
                self.layers
            );
        }
        if self.projected >= self.hidden {
            bail!(
                "recurrent",
                "proj_size {} must be smaller than hidden_size {}",
                self.projected,
                self.hidden
            );
        }
        let mut all = Vec::new();
        for layer in 0..self.layers {
            let input = match layer {
                0 => self.input,
                _ => self.state().saturating_mul(self.directions()),
            };
            for suffix in &["", "_reverse"][..self.directions()] {
                let rows = gates.saturating_mul(self.hidden);
                let mut shapes = vec![
                    ("weight_ih", vec![rows, input]),
                    ("weight_hh", vec![rows, self.state()]),
                ];
                if self.bias {
                    shapes.extend([("bias_ih", vec![rows]), ("bias_hh", vec![rows])]);
                }
                if self.projected > 0 {
                    shapes.push(("weight_hr", vec![self.projected, self.hidden]));
                }
                for (name, shape) in shapes {
                    let values = init::uniform_(&Tensor::empty(shape)?, -bound, bound)?;
                    all.push((format!("{name}_l{layer}{suffix}"), Parameter::new(values)?));
                }
            }
        }
        Ok(all)
    }
}

/// Several layers of one kind, and their options.
struct Stack {
    cell: RecurrentCell,
    sizes: Sizes,
    parameters: Vec<(String, Parameter)>,
    batch_first: bool,
    dropout: f64,
    mode: Mode,
    draw: Draw,
}

impl Stack {
    #[track_caller]
    fn new(cell: RecurrentCell, input: usize, hidden: usize) -> Stack {
        let sizes = Sizes {
            input,
            hidden,
            projected: 0,
            layers: 1,
            bias: true,
            bidirectional: false,
        };
        let (drawn, draw) = Draw::first(|| sizes.draw(cell.gates()));
        let stack = Stack {
            cell,
            sizes,
            parameters: Vec::new(),
            batch_first: false,
            dropout: 0.0,
            mode: Mode::default(),
            draw,
        };
        stack.with(drawn)
    }

    #[track_caller]
    fn with(mut self, drawn: Result<Vec<(String, Parameter)>>) -> Stack {
        match drawn {
            Ok(parameters) => {
                self.mode.set_fault(None);
                self.parameters = parameters;
            }
            Err(e) => self.mode.set_fault(Some(e.message().to_owned())),
        }
        self
    }

    #[track_caller]
    fn redraw(mut self, change: impl FnOnce(&mut Sizes)) -> Stack {
        change(&mut self.sizes);
        let (sizes, gates) = (self.sizes, self.cell.gates());
        let drawn = self.draw.again(|| sizes.draw(gates));
        self.with(drawn)
    }

    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        for (name, p) in &self.parameters {
            visit(name, Item::Parameter(p));
        }
        visit("mode", Item::Mode(&self.mode));
    }

    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        for (_, p) in &mut self.parameters {
            visit(ItemMut::Parameter(p))?;
        }
        visit(ItemMut::Mode(&mut self.mode))
    }

    fn extra_repr(&self) -> String {
        let s = &self.sizes;
        let mut text = format!("{}, {}", s.input, s.hidden);
        if s.projected != 0 {
            text += &format!(", proj_size={}", s.projected);
        }
        if s.layers != 1 {
            text += &format!(", num_layers={}", s.layers);
        }
        if !s.bias {
            text += &format!(", bias={}", py_bool(s.bias));
        }
        if self.batch_first {
            text += &format!(", batch_first={}", py_bool(self.batch_first));
        }
        if self.dropout != 0.0 {
            text += &format!(", dropout={}", py(self.dropout));
        }
        if s.bidirectional {
            text += &format!(", bidirectional={}", py_bool(s.bidirectional));
        }
        text
    }

    /// Outputs, last states, and LSTM's last cells.
    #[track_caller]
    fn run(
        &self,
        input: &Tensor,
        h0: Option<&Tensor>,
        c0: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        let s = &self.sizes;
        let batched = input.dim() == 3;
        if !batched && input.dim() != 2 || input.shape()[input.dim() - 1] != s.input {
            let form = if self.batch_first {
                "[batch, length, input_size]"
            } else {
                "[length, batch, input_size]"
            };
            bail!(
                "recurrent",
                "the input has shape {:?}; need {form}, or [length, input_size] without a batch, of input_size {}",
                input.shape(),
                s.input
            );
        }
        let mut x = match (batched, self.batch_first) {
            (false, _) => input.unsqueeze(1)?,
            (true, true) => input.transpose(0, 1)?.contiguous()?,
            (true, false) => input.clone(),
        };
        let batch = x.shape()[1];
        let states = s.layers * s.directions();
        let lstm = self.cell == RecurrentCell::Lstm;
        // On PyTorch's list of what autocast computes in the half type on a CPU stands oneDNN's LSTM
        // alone, which does not project; the other layers are products and what follows from them.
        let listed = input.is_cuda() || lstm && s.projected == 0;
        let low = autocast_dtype_on(input.device()).filter(|_| listed);
        let half = |t: &Tensor| match low {
            Some(low) if t.is_floating_point() && t.dtype() != DType::F64 => t.to_dtype(low),
            _ => Ok(t.clone()),
        };
        let start = |name: &str, given: Option<&Tensor>, width: usize| -> Result<Tensor> {
            let shape = [states, batch, width];
            match given {
                None => half(&Tensor::zeros_with(shape, (x.dtype(), x.device()))?),
                Some(t) if batched && t.shape() == shape => half(t),
                Some(t) if !batched && t.shape() == [states, width] => half(&t.unsqueeze(1)?),
                Some(t) => bail!(
                    "recurrent",
                    "{name} has shape {:?}; it must be {shape:?}: layers · directions, batch and width, without the batch where the input has none",
                    t.shape()
                ),
            }
        };
        let h0 = start("h_0", h0, s.state())?;
        let c0 = match lstm {
            true => Some(start("c_0", c0, s.hidden)?),
            false => None,
        };
        let (mut last, mut cells) = (Vec::new(), Vec::new());
        for layer in 0..s.layers {
            let mut outs = Vec::new();
            for direction in 0..s.directions() {
                let index = layer * s.directions() + direction;
                let group = &self.parameters[index * s.group()..][..s.group()];
                let group: Vec<&Tensor> = group.iter().map(|(_, p)| p.tensor()).collect();
                let h = h0.select(0, index as i64)?;
                let c = c0.as_ref().map(|c| c.select(0, index as i64)).transpose()?;
                let (out, h, c) = self.one(&x, &group, &h, c.as_ref(), direction == 1)?;
                outs.push(out);
                last.push(h);
                cells.extend(c);
            }
            x = match &outs[..] {
                [one] => one.clone(),
                both => Tensor::cat(both, -1)?,
            };
            if layer + 1 < s.layers {
                x = x.dropout(self.dropout, self.mode.is_training())?;
            }
        }
        let out = match (batched, self.batch_first) {
            (false, _) => x.squeeze_dim(1)?,
            (true, true) => x.transpose(0, 1)?,
            (true, false) => x,
        };
        let stacked = |parts: &[Tensor]| {
            let all = Tensor::stack(parts, 0)?;
            if batched { Ok(all) } else { all.squeeze_dim(1) }
        };
        let cells = match lstm {
            true => Some(stacked(&cells)?),
            false => None,
        };
        Ok((out, stacked(&last)?, cells))
    }

    /// One layer in one direction: one product for all inputs, then the steps.
    #[track_caller]
    fn one(
        &self,
        x: &Tensor,
        group: &[&Tensor],
        h: &Tensor,
        c: Option<&Tensor>,
        reverse: bool,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        let s = &self.sizes;
        let biases = s.bias.then(|| (group[2], group[3]));
        step(
            self.cell,
            x,
            (group[0], group[1]),
            biases,
            h,
            c,
            reverse,
            match s.projected {
                0 => None,
                _ => group.last().copied(),
            },
        )
    }

    #[track_caller]
    fn checked(
        &self,
        name: &'static str,
        input: &Tensor,
        h0: Option<&Tensor>,
        c0: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        self.mode.check(name)?;
        let _memory = self.mode.scope(name, input);
        check_mode(self.mode.is_training() && self.dropout > 0.0, name);
        match self.run(input, h0, c0) {
            Ok(out) => Ok(out),
            Err(e) => {
                let brief = format!("{name}({} -> {})", self.sizes.input, self.sizes.hidden);
                Err(self.mode.locate(e, brief))
            }
        }
    }
}

/// Steps through `x` `[steps, batch, input]` with weights of input and state, and their biases.
#[allow(clippy::too_many_arguments)]
#[track_caller]
fn step(
    cell: RecurrentCell,
    x: &Tensor,
    (weight_ih, weight_hh): (&Tensor, &Tensor),
    biases: Option<(&Tensor, &Tensor)>,
    h: &Tensor,
    c: Option<&Tensor>,
    reverse: bool,
    projection: Option<&Tensor>,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    // GRU's gate r stands between the state's bias and the sum; elsewhere both biases are one.
    let (bias, inner) = match biases {
        None => (None, None),
        Some((ih, hh)) if cell == RecurrentCell::Gru => (Some(ih.clone()), Some(hh)),
        Some((ih, hh)) => (Some(ih.add(hh)?), None),
    };
    let options = RecurrentOptions {
        cell,
        reverse,
        weight: weight_hh,
        bias: inner,
        projection,
    };
    x.linear(weight_ih, bias.as_ref())?.recurrent(h, c, options)
}

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident, $cell:expr, $forward:item)*) => {$(
        $(#[$doc])*
        pub struct $name {
            stack: Stack,
        }

        impl $name {
            /// From `input_size` numbers a step to `hidden_size`: one layer, one direction, with
            /// biases. What does not fit together is an error of the first call.
            #[track_caller]
            pub fn new(input_size: usize, hidden_size: usize) -> $name {
                $name { stack: Stack::new($cell, input_size, hidden_size) }
            }

            /// Layers, each of which takes the outputs of the one before (1). Draws the values anew, as
            /// `bias` and `bidirectional` do, from where the generator was before.
            #[must_use]
            #[track_caller]
            pub fn num_layers(self, num_layers: usize) -> $name {
                $name { stack: self.stack.redraw(|s| s.layers = num_layers) }
            }

            /// Whether there are biases (true).
            #[must_use]
            #[track_caller]
            pub fn bias(self, bias: bool) -> $name {
                $name { stack: self.stack.redraw(|s| s.bias = bias) }
            }

            /// Whether each layer goes through the steps in the other direction too, and its outputs
            /// are both side by side (false).
            #[must_use]
            #[track_caller]
            pub fn bidirectional(self, bidirectional: bool) -> $name {
                $name { stack: self.stack.redraw(|s| s.bidirectional = bidirectional) }
            }

            /// Whether the batch is the first dimension of input and output, though not of states
            /// (false).
            #[must_use]
            pub fn batch_first(mut self, batch_first: bool) -> $name {
                self.stack.batch_first = batch_first;
                self
            }

            /// The probability that an output of a layer but the last becomes zero while training (0).
            #[must_use]
            pub fn dropout(mut self, dropout: f64) -> $name {
                self.stack.dropout = dropout;
                self
            }

            /// The parameter of PyTorch's name: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`,
            /// `bias_hh_l0`, with `_reverse` after it for the other direction.
            pub fn parameter(&self, name: &str) -> Option<&Parameter> {
                let found = self.stack.parameters.iter().find(|(n, _)| n == name);
                found.map(|(_, p)| p)
            }

            $forward
        }

        impl Module for $name {
            fn type_name(&self) -> &'static str {
                stringify!($name)
            }
            fn as_module(&self) -> &dyn Module {
                self
            }
            fn extra_repr(&self) -> String {
                self.stack.extra_repr()
            }
            fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
                self.stack.visit(visit);
            }
            fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
                self.stack.visit_mut(visit)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.repr())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.repr())
            }
        }
    )*};
}

layers! {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997;
    /// [`torch.nn.LSTM`](https://pytorch.org/docs/stable/generated/torch.nn.LSTM.html)).
    ///
    /// Input `[length, batch, input]`, `[batch, length, input]` with `batch_first`, or `[length, input]`;
    /// output alike, of `hidden` numbers, twice as many in both directions. States are `[layers ·
    /// directions, batch, hidden]`.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// use flambeau_nn::LSTM;
    /// manual_seed(0);
    /// let lstm = LSTM::new(3, 4).num_layers(2).bidirectional(true);
    /// let (y, (h, c)) = lstm.forward(&Tensor::ones([5, 2, 3])?, None)?;
    /// assert_eq!((y.shape(), h.shape(), c.shape()), (&[5, 2, 8][..], &[4, 2, 4][..], &[4, 2, 4][..]));
    /// assert_eq!(lstm.parameter("weight_ih_l1").unwrap().shape(), [16, 8]);
    /// assert_eq!(lstm.to_string(), "LSTM(3, 4, num_layers=2, bidirectional=True)");
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LSTM, RecurrentCell::Lstm,
    /// Outputs, and the last states and cells, which begin at `hx` or else at zero.
    ///
    /// # Errors
    /// Where shapes or types do not fit, or there are no steps.
    #[track_caller]
    pub fn forward(
        &self,
        input: &Tensor,
        hx: Option<(&Tensor, &Tensor)>,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        let (h0, c0) = hx.unzip();
        match self.stack.checked("LSTM", input, h0, c0)? {
            (out, h, Some(c)) => Ok((out, (h, c))),
            _ => bail!("LSTM", "there are no cells"),
        }
    }

    /// Gated recurrent unit (Cho et al., arXiv 1406.1078;
    /// [`torch.nn.GRU`](https://pytorch.org/docs/stable/generated/torch.nn.GRU.html)). Shapes as
    /// [`LSTM`]'s.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::GRU;
    /// let gru = GRU::new(3, 4).batch_first(true);
    /// let (y, h) = gru.forward(&Tensor::ones([2, 5, 3])?, None)?;
    /// assert_eq!((y.shape(), h.shape()), (&[2, 5, 4][..], &[1, 2, 4][..]));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    GRU, RecurrentCell::Gru,
    /// Outputs and the last states, which begin at `hx` or else at zero.
    ///
    /// # Errors
    /// Where shapes or types do not fit, or there are no steps.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, hx: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (out, h, _) = self.stack.checked("GRU", input, hx, None)?;
        Ok((out, h))
    }

    /// Plain recurrence, h' = tanh(W x + b + U h + c) (Elman 1990;
    /// [`torch.nn.RNN`](https://pytorch.org/docs/stable/generated/torch.nn.RNN.html)). Shapes as
    /// [`LSTM`]'s.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Nonlinear, RNN};
    /// let rnn = RNN::new(3, 4).nonlinearity(Nonlinear::ReLU);
    /// let (y, h) = rnn.forward(&Tensor::ones([5, 2, 3])?, None)?;
    /// assert_eq!((y.shape(), h.shape()), (&[5, 2, 4][..], &[1, 2, 4][..]));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    RNN, RecurrentCell::Tanh,
    /// Outputs and the last states, which begin at `hx` or else at zero.
    ///
    /// # Errors
    /// Where shapes or types do not fit, or there are no steps.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, hx: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (out, h, _) = self.stack.checked("RNN", input, hx, None)?;
        Ok((out, h))
    }
}

/// The function of a plain recurrence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonlinear {
    /// The hyperbolic tangent, the default.
    #[default]
    Tanh,
    /// max(0, x).
    ReLU,
}

impl Nonlinear {
    fn cell(self) -> RecurrentCell {
        match self {
            Nonlinear::Tanh => RecurrentCell::Tanh,
            Nonlinear::ReLU => RecurrentCell::Relu,
        }
    }
}

impl RNN {
    /// Tanh or ReLU (tanh).
    #[must_use]
    pub fn nonlinearity(mut self, nonlinearity: Nonlinear) -> RNN {
        self.stack.cell = nonlinearity.cell();
        self
    }
}

impl LSTM {
    /// Numbers of a state that the output is projected to, fewer than `hidden_size`; 0 for no
    /// projection (0; Sak et al., arXiv 1402.1128). Draws the values anew, from where the generator was
    /// before.
    #[must_use]
    #[track_caller]
    pub fn proj_size(self, proj_size: usize) -> LSTM {
        LSTM {
            stack: self.stack.redraw(|s| s.projected = proj_size),
        }
    }
}

macro_rules! cells {
    ($($(#[$doc:meta])* $name:ident, $cell:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Module)]
        #[module(extra_repr)]
        pub struct $name {
            /// `[gates · hidden, input]`.
            pub weight_ih: Parameter,
            /// `[gates · hidden, hidden]`.
            pub weight_hh: Parameter,
            /// `[gates · hidden]`.
            pub bias_ih: Option<Parameter>,
            /// `[gates · hidden]`.
            pub bias_hh: Option<Parameter>,
            sizes: Sizes,
            #[module(skip)]
            cell: RecurrentCell,
            mode: Mode,
            draw: Draw,
        }

        impl $name {
            /// From `input_size` numbers and a state of `hidden_size`, with biases.
            #[track_caller]
            pub fn new(input_size: usize, hidden_size: usize) -> $name {
                let cell: RecurrentCell = $cell;
                let sizes = Sizes {
                    input: input_size,
                    hidden: hidden_size,
                    projected: 0,
                    layers: 1,
                    bias: true,
                    bidirectional: false,
                };
                let (drawn, draw) = Draw::first(|| sizes.draw(cell.gates()));
                let layer = $name {
                    weight_ih: nothing().into(),
                    weight_hh: nothing().into(),
                    bias_ih: None,
                    bias_hh: None,
                    sizes,
                    cell,
                    mode: Mode::default(),
                    draw,
                };
                layer.with(drawn)
            }

            #[track_caller]
            fn with(mut self, drawn: Result<Vec<(String, Parameter)>>) -> $name {
                match drawn {
                    Ok(parameters) => {
                        self.mode.set_fault(None);
                        let mut all = parameters.into_iter().map(|(_, p)| p);
                        self.weight_ih = all.next().unwrap_or_else(|| nothing().into());
                        self.weight_hh = all.next().unwrap_or_else(|| nothing().into());
                        (self.bias_ih, self.bias_hh) = (all.next(), all.next());
                    }
                    Err(e) => self.mode.set_fault(Some(e.message().to_owned())),
                }
                self
            }

            /// Whether there are biases (true). Draws the values anew, from where the generator was
            /// before.
            #[must_use]
            #[track_caller]
            pub fn bias(mut self, bias: bool) -> $name {
                self.sizes.bias = bias;
                let (sizes, gates) = (self.sizes, self.cell.gates());
                let drawn = self.draw.again(|| sizes.draw(gates));
                self.with(drawn)
            }

            /// The next state, and LSTM's next cell, `[batch, hidden]` or `[hidden]`.
            #[track_caller]
            fn run(
                &self,
                input: &Tensor,
                h: Option<&Tensor>,
                c: Option<&Tensor>,
            ) -> Result<(Tensor, Option<Tensor>)> {
                self.mode.check(stringify!($name))?;
                let _memory = self.mode.scope(stringify!($name), input);
                let s = &self.sizes;
                let out = || {
                    let batched = input.dim() == 2;
                    if !batched && input.dim() != 1 || input.shape()[input.dim() - 1] != s.input {
                        bail!(
                            "recurrent",
                            "the input has shape {:?}; need [batch, input_size] or [input_size], of input_size {}",
                            input.shape(),
                            s.input
                        );
                    }
                    let x = if batched { input.clone() } else { input.unsqueeze(0)? };
                    let shape = [x.shape()[0], s.hidden];
                    // On PyTorch's list of what is computed in the half type on CUDA.
                    let low = autocast_dtype_on(x.device()).filter(|_| x.is_cuda());
                    let low = low.filter(|_| x.dtype() != DType::F64);
                    let state = |t: Option<&Tensor>| {
                        let t = match t {
                            None => Tensor::zeros_with(shape, (x.dtype(), x.device()))?,
                            Some(t) if batched => t.clone(),
                            Some(t) => t.unsqueeze(0)?,
                        };
                        t.to_dtype(low.unwrap_or(t.dtype()))
                    };
                    let h = state(h)?;
                    let c = match self.cell {
                        RecurrentCell::Lstm => Some(state(c)?),
                        _ => None,
                    };
                    let biases = self.bias_ih.as_deref().zip(self.bias_hh.as_deref());
                    let weights = (self.weight_ih.tensor(), self.weight_hh.tensor());
                    let x = x.unsqueeze(0)?;
                    let (_, h, c) = step(self.cell, &x, weights, biases, &h, c.as_ref(), false, None)?;
                    if batched {
                        return Ok((h, c));
                    }
                    Ok((h.squeeze_dim(0)?, c.map(|c| c.squeeze_dim(0)).transpose()?))
                };
                out().map_err(|e| self.mode.locate(e, self))
            }

            fn extra_repr(&self) -> String {
                let mut text = format!("{}, {}", self.sizes.input, self.sizes.hidden);
                if !self.sizes.bias {
                    text += ", bias=False";
                }
                if self.cell == RecurrentCell::Relu {
                    text += ", nonlinearity=relu";
                }
                text
            }
        }
    )*};
}

cells! {
    /// One step of an [`LSTM`]
    /// ([`torch.nn.LSTMCell`](https://pytorch.org/docs/stable/generated/torch.nn.LSTMCell.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::LSTMCell;
    /// let cell = LSTMCell::new(3, 4);
    /// let x = Tensor::ones([2, 3])?;
    /// let (h, c) = cell.forward(&x, None)?;
    /// let (h, _) = cell.forward(&x, Some((&h, &c)))?;
    /// assert_eq!(h.shape(), [2, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LSTMCell, RecurrentCell::Lstm;
    /// One step of a [`GRU`]
    /// ([`torch.nn.GRUCell`](https://pytorch.org/docs/stable/generated/torch.nn.GRUCell.html)).
    GRUCell, RecurrentCell::Gru;
    /// One step of an [`RNN`]
    /// ([`torch.nn.RNNCell`](https://pytorch.org/docs/stable/generated/torch.nn.RNNCell.html)).
    RNNCell, RecurrentCell::Tanh;
}

impl LSTMCell {
    /// The next state and cell for `[batch, input]` or `[input]`, from `hx` or else zeros.
    ///
    /// # Errors
    /// Where shapes or types do not fit.
    #[track_caller]
    pub fn forward(
        &self,
        input: &Tensor,
        hx: Option<(&Tensor, &Tensor)>,
    ) -> Result<(Tensor, Tensor)> {
        let (h, c) = hx.unzip();
        match self.run(input, h, c)? {
            (h, Some(c)) => Ok((h, c)),
            _ => bail!("LSTMCell", "there is no cell"),
        }
    }
}

impl GRUCell {
    /// The next state for `[batch, input]` or `[input]`, from `hx` or else zeros.
    ///
    /// # Errors
    /// Where shapes or types do not fit.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, hx: Option<&Tensor>) -> Result<Tensor> {
        self.run(input, hx, None).map(|(h, _)| h)
    }
}

impl RNNCell {
    /// Tanh or ReLU (tanh).
    #[must_use]
    pub fn nonlinearity(mut self, nonlinearity: Nonlinear) -> RNNCell {
        self.cell = nonlinearity.cell();
        self
    }

    /// The next state for `[batch, input]` or `[input]`, from `hx` or else zeros.
    ///
    /// # Errors
    /// Where shapes or types do not fit.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, hx: Option<&Tensor>) -> Result<Tensor> {
        self.run(input, hx, None).map(|(h, _)| h)
    }
}
