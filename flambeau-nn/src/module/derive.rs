//! What the code that `#[derive(Module)]` writes refers to: which types a field can have to take
//! part, and the choice between those and all others.

use super::{Item, ItemMut, Module, Visit, VisitMut};
use crate::parameter::{Buffer, Mode, Parameter};
pub use flambeau_core::Result;

/// A type whose values, as fields, belong to the tree.
pub trait Field {
    /// Hands the field over under `name`.
    fn field<'a>(&'a self, name: &str, visit: &mut Visit<'_, 'a>);
    /// The same for changing.
    fn field_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()>;
}

impl<M: Module> Field for M {
    fn field<'a>(&'a self, name: &str, visit: &mut Visit<'_, 'a>) {
        visit(name, Item::Module(self.as_module()));
    }
    fn field_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        visit(ItemMut::Module(self))
    }
}

macro_rules! leaf {
    ($($t:ident),*) => {$(
        impl Field for $t {
            fn field<'a>(&'a self, name: &str, visit: &mut Visit<'_, 'a>) {
                visit(name, Item::$t(self));
            }
            fn field_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
                visit(ItemMut::$t(self))
            }
        }
    )*};
}
leaf!(Parameter, Buffer, Mode);

/// `None` has no part in the tree, as a module set to `None` has in PyTorch.
impl<F: Field> Field for Option<F> {
    fn field<'a>(&'a self, name: &str, visit: &mut Visit<'_, 'a>) {
        if let Some(f) = self {
            f.field(name, visit);
        }
    }
    fn field_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        self.as_mut().map_or(Ok(()), |f| f.field_mut(visit))
    }
}

/// A field under trial.
pub struct Probe<'a, T: ?Sized>(pub &'a T);

/// Found first: the field takes part.
pub trait IsField<'a> {
    /// Visits it.
    fn probe(&self, name: &str, visit: &mut Visit<'_, 'a>);
}

impl<'a, F: Field + ?Sized> IsField<'a> for Probe<'a, F> {
    fn probe(&self, name: &str, visit: &mut Visit<'_, 'a>) {
        self.0.field(name, visit);
    }
}

/// Found one reference later: it does not.
pub trait NotField<'a> {
    /// Does nothing.
    fn probe(&self, _name: &str, _visit: &mut Visit<'_, 'a>) {}
}

impl<'a, T: ?Sized> NotField<'a> for &Probe<'a, T> {}

/// [`Probe`] for changing.
pub struct ProbeMut<'a, T: ?Sized>(pub &'a mut T);

/// Found first: the field takes part.
pub trait IsFieldMut {
    /// Visits it.
    fn probe_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()>;
}

impl<F: Field + ?Sized> IsFieldMut for ProbeMut<'_, F> {
    fn probe_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        self.0.field_mut(visit)
    }
}

/// Found one reference later: it does not.
pub trait NotFieldMut {
    /// Does nothing.
    fn probe_mut(&mut self, _visit: &mut VisitMut<'_>) -> Result<()> {
        Ok(())
    }
}

impl<T: ?Sized> NotFieldMut for &mut ProbeMut<'_, T> {}
