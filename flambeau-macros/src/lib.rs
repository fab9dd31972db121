//! #[derive(Module)] for flambeau
