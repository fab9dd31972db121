//! What memory is taken for, so that a device without any left can say what holds it.
//!
//! Callers that know enter a scope: the tree of modules, the backward walk, optimizers. It belongs to
//! the thread and lasts as long as its guard.

use std::cell::Cell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// What a tensor is to training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// A result of an operation; of the module that is running, where one is.
    #[default]
    Activation,
    /// A batch that was brought from the host.
    Input,
    /// What a module learns or keeps.
    Parameter,
    /// What a backward pass made.
    Gradient,
    /// What an optimizer keeps.
    Optimizer,
}

/// What memory is taken for: a role, and the number of a module's name, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tag {
    pub(crate) role: Role,
    pub(crate) module: u32,
}

thread_local! {
    static CURRENT: Cell<Tag> = const { Cell::new(Tag { role: Role::Activation, module: 0 }) };
}

/// Names of modules by number, from 1 on.
#[derive(Default)]
struct Names {
    numbers: HashMap<Arc<str>, u32>,
    list: Vec<Arc<str>>,
}

fn names() -> MutexGuard<'static, Names> {
    static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of number `module`.
pub(crate) fn name(module: u32) -> Option<Arc<str>> {
    names().list.get((module as usize).checked_sub(1)?).cloned()
}

/// Ends a scope when dropped. Of the thread that made it.
#[must_use = "the scope ends when the guard is dropped"]
#[derive(Debug)]
pub struct Scope {
    outer: Tag,
    _thread: PhantomData<*const ()>,
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

fn enter(tag: Tag) -> Scope {
    Scope {
        outer: CURRENT.replace(tag),
        _thread: PhantomData,
    }
}

/// From now on memory is taken for `role`.
pub fn role(role: Role) -> Scope {
    let module = CURRENT.get().module;
    enter(Tag { role, module })
}

/// From now on memory is taken by the module of that name.
pub fn module(name: &str) -> Scope {
    let mut names = names();
    let known = names.numbers.get(name).copied();
    let number = known.unwrap_or_else(|| {
        let name: Arc<str> = name.into();
        names.list.push(name.clone());
        let number = names.list.len() as u32;
        names.numbers.insert(name, number);
        number
    });
    let role = CURRENT.get().role;
    enter(Tag {
        role,
        module: number,
    })
}

/// Whether nobody has said what memory is taken for.
pub fn is_plain() -> bool {
    CURRENT.get() == Tag::default()
}

/// What memory is taken for.
pub(crate) fn current() -> Tag {
    CURRENT.get()
}
