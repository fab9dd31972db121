//! `#[derive(Module)]` for flambeau.
//!
//! The derive writes no more than a list of the struct's fields. Whether a field takes part is
//! settled by its type where the generated code is compiled: `Probe(&self.field).probe(..)` picks
//! the method for types that are a module, a parameter or a buffer, and otherwise falls, by one more
//! automatic reference, to the method that does nothing. So plain fields need no annotation.
#![forbid(unsafe_code)]

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Field, Index, LitStr, Member, Path, parse_macro_input};

/// Makes a struct a `Module`, with `Display` like PyTorch's `print(net)`.
///
/// Fields that are modules, parameters or buffers (or `Option`, `Vec`, tuples, arrays or `Box` of
/// those) take part under their own names; all other fields are left alone.
///
/// - `#[module(skip)]` on a field leaves it out although its type would take part;
/// - `#[module(rename = "name")]` on a field gives it another name in the state dict;
/// - `#[module(name = "Name")]` on the struct prints another name than its own;
/// - `#[module(extra_repr)]` on the struct prints the text of its method
///   `fn extra_repr(&self) -> String` between the brackets;
/// - `#[module(no_display)]` on the struct leaves `Display` to its author;
/// - `#[module(crate = "path")]` on the struct says where `flambeau::nn` is found under another name.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input)
        .unwrap_or_else(|e| e.to_compile_error())
        .into()
}

/// What stands in `#[module(..)]` on the struct.
#[derive(Default)]
struct Options {
    name: Option<String>,
    extra_repr: bool,
    no_display: bool,
    path: Option<Path>,
}

impl Options {
    fn parse(attributes: &[Attribute]) -> syn::Result<Options> {
        let mut options = Options::default();
        for a in attributes.iter().filter(|a| a.path().is_ident("module")) {
            a.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    options.name = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("extra_repr") {
                    options.extra_repr = true;
                } else if meta.path.is_ident("no_display") {
                    options.no_display = true;
                } else if meta.path.is_ident("crate") {
                    options.path = Some(meta.value()?.parse::<LitStr>()?.parse()?);
                } else {
                    return Err(meta.error(
                        "unknown option; a struct takes name, extra_repr, no_display and crate",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

/// A field's name in the state dict; `None` where it is skipped.
fn field_name(index: usize, field: &Field) -> syn::Result<Option<String>> {
    let own = field
        .ident
        .as_ref()
        .map_or_else(|| index.to_string(), |i| i.to_string());
    let mut name = Some(own.trim_start_matches("r#").to_owned());
    for a in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
        a.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                name = None;
            } else if meta.path.is_ident("rename") {
                let text: LitStr = meta.value()?.parse()?;
                if text.value().is_empty() || text.value().contains('.') {
                    return Err(syn::Error::new(
                        text.span(),
                        "a name must not be empty nor hold a dot, which separates names",
                    ));
                }
                name = Some(text.value());
            } else {
                return Err(meta.error("unknown option; a field takes skip and rename"));
            }
            Ok(())
        })?;
    }
    Ok(name)
}

fn expand(mut input: DeriveInput) -> syn::Result<TokenStream> {
    // What `Module` asks of the whole struct its type parameters must fulfil.
    for parameter in input.generics.type_params_mut() {
        for bound in ["::core::marker::Send", "::core::marker::Sync", "'static"] {
            parameter.bounds.push(syn::parse_str(bound)?);
        }
    }
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(
            Span::call_site(),
            "Module can be derived for structs; for an enum, implement it by hand",
        ));
    };
    let options = Options::parse(&input.attrs)?;
    let nn = options.path.clone().unwrap_or_else(default_path);
    let ident = &input.ident;
    let name = options.name.clone().unwrap_or_else(|| ident.to_string());
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();

    let (mut visits, mut visits_mut) = (Vec::new(), Vec::new());
    for (i, field) in data.fields.iter().enumerate() {
        let Some(name) = field_name(i, field)? else {
            continue;
        };
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(Index::from(i)),
        };
        visits.push(quote!((&#nn::derive::Probe(&self.#member)).probe(#name, visit);));
        visits_mut.push(quote!((&mut #nn::derive::ProbeMut(&mut self.#member)).probe_mut(visit)?;));
    }
    let extra = options.extra_repr.then(|| {
        quote!(fn extra_repr(&self) -> ::std::string::String { <#ident #type_generics>::extra_repr(self) })
    });
    let display = (!options.no_display).then(|| {
        let f = format_ident!("f");
        quote! {
            impl #impl_generics ::core::fmt::Display for #ident #type_generics #where_clause {
                fn fmt(&self, #f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    #f.write_str(&#nn::Module::repr(self))
                }
            }
        }
    });
    Ok(quote! {
        impl #impl_generics #nn::Module for #ident #type_generics #where_clause {
            fn type_name(&self) -> &'static str { #name }
            fn as_module(&self) -> &dyn #nn::Module { self }
            // Which of the two traits answers for a field is decided by its type. The other one, and
            // `visit` in a struct without fields, go unused; the borrow may be one too many.
            #[allow(unused_imports, unused_variables, clippy::needless_borrow)]
            fn visit<'module>(&'module self, visit: &mut #nn::Visit<'_, 'module>) {
                use #nn::derive::{IsField as _, NotField as _};
                #(#visits)*
            }
            // As above.
            #[allow(unused_imports, unused_variables)]
            fn visit_mut(&mut self, visit: &mut #nn::VisitMut<'_>) -> #nn::derive::Result<()> {
                use #nn::derive::{IsFieldMut as _, NotFieldMut as _};
                #(#visits_mut)*
                Ok(())
            }
            #extra
        }
        #display
    })
}

/// `::flambeau_nn` in a package that is or depends on flambeau-nn, else `::flambeau::nn`.
fn default_path() -> Path {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|d| std::fs::read_to_string(std::path::Path::new(&d).join("Cargo.toml")).ok())
        .unwrap_or_default();
    let direct = manifest.lines().map(str::trim).any(|line| {
        line == r#"name = "flambeau-nn""#
            || line.starts_with("[dependencies.flambeau-nn")
            || line
                .strip_prefix("flambeau-nn")
                .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    });
    if direct {
        syn::parse_quote!(::flambeau_nn)
    } else {
        syn::parse_quote!(::flambeau::nn)
    }
}
