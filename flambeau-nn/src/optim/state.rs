//! An optimizer's state: tensors by parameter, and numbers.

use super::{Algorithm, Group, State};
use crate::module::StateDict;
use flambeau_core::{Error, Result, Tensor, no_grad};
use serde_json::{Map, Value, json};
use std::panic::Location;

/// What [`Optimizer::state_dict`](super::Optimizer::state_dict) gives: the tensors are named
/// `INDEX.NAME` by the position of their parameter, as in PyTorch; the rest is JSON.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::optim::{Optimizer, Sgd};
/// let w = Tensor::ones([1])?.requires_grad_(true)?;
/// let mut optimizer = Sgd::new([&w], 0.1).momentum(0.9);
/// w.sum()?.backward()?;
/// optimizer.step()?;
/// let state = optimizer.state_dict();
/// let mut other = Sgd::new([&w], 0.5);
/// other.load_state_dict(&state)?;
/// assert_eq!(other.lr(), 0.1);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OptimizerState {
    /// Tensors such as `0.momentum_buffer`; they share memory with the optimizer.
    pub tensors: StateDict,
    /// The optimizer's name, the groups with their options, and the steps by parameter.
    pub meta: Value,
}

pub(super) fn save<O: Algorithm>(
    name: &str,
    state_names: &[&str],
    groups: &[Group<O>],
) -> OptimizerState {
    let (mut tensors, mut steps, mut described) = (StateDict::new(), Vec::new(), Vec::new());
    let mut index = 0;
    for group in groups {
        let first = index;
        for state in &group.states {
            for (name, t) in state_names.iter().zip(&state.tensors) {
                if let Some(t) = t {
                    tensors.insert(&format!("{index}.{name}"), t.clone());
                }
            }
            steps.push(json!([state.step, state.number]));
            index += 1;
        }
        described.push(json!({
            "params": (first..index).collect::<Vec<_>>(),
            "options": group.options().save(),
            "initial_lr": group.rate.0.initial_lr.get(),
        }));
    }
    OptimizerState {
        tensors,
        meta: json!({ "optimizer": name, "param_groups": described, "steps": steps }),
    }
}

/// What a saved group holds, once it is known to fit.
struct Plan<O> {
    options: O,
    initial_lr: Option<f64>,
    states: Vec<State>,
}

#[track_caller]
pub(super) fn load<O: Algorithm>(
    name: &'static str,
    state_names: &[&str],
    groups: &mut [Group<O>],
    saved: &OptimizerState,
) -> Result<()> {
    let at = Location::caller();
    let plans = plan(name, state_names, groups, saved)
        .map_err(|text| Error::at("load_state_dict", format!("{text}. Nothing was loaded"), at))?;
    // Copies, so that training on does not change the saved state.
    let mut ready = Vec::new();
    for (plan, group) in plans.into_iter().zip(groups.iter()) {
        let mut states = plan.states;
        for (state, p) in states.iter_mut().zip(&group.parameters) {
            for t in state.tensors.iter_mut().flatten() {
                *t = no_grad(|| t.detach().to_dtype(p.dtype())?.copy())?;
            }
        }
        ready.push((plan.options, plan.initial_lr, states));
    }
    for (group, (options, initial_lr, states)) in groups.iter_mut().zip(ready) {
        group.set_options(|o| *o = options.clone());
        group.states = states;
        if let Some(lr) = initial_lr {
            let _ = group.rate.0.initial_lr.set(lr);
        }
    }
    Ok(())
}

fn plan<O: Algorithm>(
    name: &str,
    state_names: &[&str],
    groups: &[Group<O>],
    saved: &OptimizerState,
) -> Result<Vec<Plan<O>>, String> {
    let damaged = |what: &str| format!("the saved optimizer state is damaged: {what}");
    match saved.meta["optimizer"].as_str() {
        Some(n) if n == name => {}
        Some(n) => return Err(format!("the state is that of {n}, not of {name}")),
        None => return Err(damaged("it names no optimizer")),
    }
    let described = saved.meta["param_groups"]
        .as_array()
        .ok_or_else(|| damaged("it has no param_groups"))?;
    let steps = saved.meta["steps"]
        .as_array()
        .ok_or_else(|| damaged("it has no steps"))?;
    let counts = |sizes: Vec<usize>| format!("{sizes:?}");
    let theirs: Vec<usize> = described
        .iter()
        .map(|g| g["params"].as_array().map_or(0, Vec::len))
        .collect();
    let ours: Vec<usize> = groups.iter().map(|g| g.parameters.len()).collect();
    if theirs != ours || steps.len() != ours.iter().sum::<usize>() {
        return Err(format!(
            "the groups differ: {} parameters in the state, {} in the optimizer",
            counts(theirs),
            counts(ours)
        ));
    }
    let (mut plans, mut index, mut shapes) = (Vec::new(), 0, Vec::new());
    for (group, described) in groups.iter().zip(described) {
        let mut options = group.options();
        let fields: &Map<String, Value> = described["options"]
            .as_object()
            .ok_or_else(|| damaged("a group has no options"))?;
        options.restore(fields).map_err(|e| damaged(&e))?;
        let mut states = Vec::new();
        for p in &group.parameters {
            let step = steps[index][0]
                .as_u64()
                .ok_or_else(|| damaged("a step is not a number"))?;
            let mut state = State {
                step,
                number: steps[index][1].as_f64(),
                ..State::default()
            };
            for name in state_names {
                let t: Option<&Tensor> = saved.tensors.get(&format!("{index}.{name}"));
                if let Some(t) = t.filter(|t| t.shape() != p.shape()) {
                    shapes.push(format!(
                        "{index}.{name}: {:?} in the state, {:?} in the optimizer",
                        t.shape(),
                        p.shape()
                    ));
                }
                state.tensors.push(t.cloned());
            }
            states.push(state);
            index += 1;
        }
        plans.push(Plan {
            options,
            initial_lr: described["initial_lr"].as_f64(),
            states,
        });
    }
    if shapes.is_empty() {
        Ok(plans)
    } else {
        Err(format!("shapes differ: {}", shapes.join(", ")))
    }
}
