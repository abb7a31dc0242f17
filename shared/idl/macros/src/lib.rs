//! The macro of `phi-idl`, which documents it.
//!
//! Two steps: [`interface`] reads a trait and says what cannot travel in a message, [`expand`] writes
//! the stubs. Both work on tokens alone, and are tested without a compiler.

mod expand;
mod interface;

use proc_macro::TokenStream;

/// Makes an interface of a trait: see `phi-idl`.
#[proc_macro_attribute]
pub fn interface(arguments: TokenStream, item: TokenStream) -> TokenStream {
    stubs(arguments.into(), item.into()).unwrap_or_else(|error| error.into_compile_error()).into()
}

fn stubs(
    arguments: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> syn::Result<proc_macro2::TokenStream> {
    let deferred = match arguments.to_string().as_str() {
        "" => false,
        "deferred" => true,
        _ => {
            let problem = "an interface takes no argument but `deferred`";
            return Err(syn::Error::new_spanned(arguments, problem));
        }
    };
    Ok(expand::expand(&interface::Interface::read(syn::parse2(item)?)?, deferred))
}
