//! Writes an interface's client and server.

use crate::interface::{Answer, Interface, Method, Parameter, Role};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};

/// The trait, its client and its server, and with `deferred` its requests.
pub fn expand(interface: &Interface, deferred: bool) -> TokenStream {
    let item = &interface.item;
    let client = client(interface);
    let server = server(interface);
    let requests = deferred.then(|| requests(interface));
    quote! { #item #client #server #requests }
}

fn client(interface: &Interface) -> TokenStream {
    let name = &interface.item.ident;
    let visibility = &interface.item.vis;
    let client = format_ident!("{name}Client");
    let documentation = format!("Calls a server of [`{name}`].");
    let methods = interface.methods.iter().enumerate().map(client_method);
    quote! {
        #[doc = #documentation]
        #[derive(Debug)]
        #visibility struct #client {
            peer: ::phi_idl::support::Peer,
            timeout: u64,
        }

        impl #client {
            /// A client of `peer` that waits for answers without end.
            pub fn new(peer: ::phi_idl::support::Peer) -> Self {
                Self::with_timeout(peer, ::phi_idl::support::FOREVER)
            }

            /// A client of `peer` that waits up to `timeout` nanoseconds for an answer.
            pub fn with_timeout(peer: ::phi_idl::support::Peer, timeout: u64) -> Self {
                Self { peer, timeout }
            }

            #(#methods)*
        }
    }
}

fn client_method((label, method): (usize, &Method)) -> TokenStream {
    let Method { documentation, name, parameters, error, .. } = method;
    let label = label as u64;
    let declared = parameters.iter().filter_map(|Parameter { name, role }| match role {
        Role::Caller => None,
        Role::Inline(kind) => Some(quote! { #name: #kind }),
        Role::Lent => Some(quote! { #name: ::phi_idl::support::Loan<'_> }),
        Role::LentMut => Some(quote! { #name: ::phi_idl::support::LoanMut<'_> }),
        Role::Capability => Some(quote! { #name: ::phi_idl::support::Capability }),
    });
    let inline = inline(parameters).map(|(name, _)| name);
    let given = capabilities(parameters).map(|name| quote! { message.give(#name)?; });
    let lent = loans(parameters).map(|(name, _)| quote! { message.lend(#name)?; });
    let (answer, finish) = match &method.answer {
        Answer::Inline(kind) => (quote! { #kind }, quote! { result }),
        Answer::Capability => {
            (quote! { ::phi_idl::support::Capability }, quote! { capability_result })
        }
    };
    let make = quote! {
        // Only what gives or lends something changes the message afterwards.
        #[allow(unused_mut)]
        let mut message = ::phi_idl::support::request(#label, &(#(&#inline,)*))?;
        #(#given)*
        #(#lent)*
    };
    let call = match method.idempotent {
        true => quote! {
            let answer = ::phi_idl::support::call_idempotent(&self.peer, self.timeout, || {
                #make
                ::core::result::Result::Ok(message)
            })?;
        },
        false => quote! {
            #make
            let answer = self.peer.call(message, self.timeout)?;
        },
    };
    quote! {
        #(#documentation)*
        ///
        /// # Errors
        /// What the server answers, or why it did not.
        pub fn #name(
            &self,
            #(#declared),*
        ) -> ::core::result::Result<#answer, ::phi_idl::CallError<#error>> {
            #call
            ::phi_idl::support::#finish(answer)
        }
    }
}

fn server(interface: &Interface) -> TokenStream {
    let name = &interface.item.ident;
    let visibility = &interface.item.vis;
    let server = format_ident!("{name}Server");
    let documentation = format!("Serves [`{name}`] with what implements it.");
    let methods = interface.methods.iter().map(server_method);
    let arms = interface.methods.iter().enumerate().map(|(label, method)| {
        let label = label as u64;
        let name = &method.name;
        quote! { #label => self.#name(incoming), }
    });
    quote! {
        #[doc = #documentation]
        #[derive(Debug)]
        #visibility struct #server<T>(pub T);

        impl<T: #name> #server<T> {
            #(#methods)*
        }

        impl<T: #name> ::phi_idl::Dispatch for #server<T> {
            fn dispatch(
                &mut self,
                incoming: &mut ::phi_idl::support::Incoming,
            ) -> ::phi_idl::support::Outgoing<'static> {
                let answer = match incoming.label() {
                    #(#arms)*
                    _ => ::core::option::Option::None,
                };
                answer.unwrap_or_else(::phi_idl::support::not_understood)
            }
        }
    }
}

fn server_method(method: &Method) -> TokenStream {
    let Method { name, parameters, .. } = method;
    let first_loan = capabilities(parameters).count();
    let grants = first_loan + loans(parameters).count();
    let taken = capabilities(parameters)
        .enumerate()
        .map(|(index, name)| quote! { let #name = incoming.take(#index)?; });
    let lent = loans(parameters).enumerate().map(|(index, (name, writable))| {
        let index = first_loan + index;
        let method = if writable {
            quote! { lent_mut }
        } else {
            quote! { lent }
        };
        quote! { let #name = incoming.#method(#index)?; }
    });
    let names = inline(parameters).map(|(name, _)| name);
    let kinds = inline(parameters).map(|(_, kind)| kind);
    let callers = parameters.iter().filter_map(|parameter| {
        let name = &parameter.name;
        matches!(parameter.role, Role::Caller)
            .then(|| quote! { let #name = ::phi_idl::Caller::of(incoming); })
    });
    let passed = parameters.iter().map(|parameter| &parameter.name);
    let finish = match method.answer {
        Answer::Inline(_) => quote! { answer },
        Answer::Capability => quote! { capability_answer },
    };
    quote! {
        fn #name(
            &mut self,
            incoming: &mut ::phi_idl::support::Incoming,
        ) -> ::core::option::Option<::phi_idl::support::Outgoing<'static>> {
            if incoming.grant_count() != #grants {
                return ::core::option::Option::None;
            }
            #(#taken)*
            #(#lent)*
            #(#callers)*
            let (#(#names,)*): (#(#kinds,)*) = ::phi_idl::support::decode(incoming.bytes())?;
            ::core::option::Option::Some(::phi_idl::support::#finish(self.0.#name(#(#passed),*)))
        }
    }
}

/// What calls ask, for a server that answers later.
fn requests(interface: &Interface) -> TokenStream {
    let name = &interface.item.ident;
    let visibility = &interface.item.vis;
    let requests = format_ident!("{name}Request");
    let documentation = format!("What a call of [`{name}`] asks, for a server that answers later.");
    let variants = interface.methods.iter().map(|method| {
        let (documentation, variant) = (&method.documentation, variant(method));
        let names = inline(&method.parameters).map(|(name, _)| name);
        let kinds = inline(&method.parameters).map(|(_, kind)| kind);
        let fields = names.zip(kinds).map(|(name, kind)| {
            let text = format!("The argument `{name}`.");
            quote! { #[doc = #text] #name: #kind }
        });
        quote! { #(#documentation)* #variant { #(#fields),* } }
    });
    let arms = interface.methods.iter().enumerate().map(|(label, method)| {
        let (label, variant) = (label as u64, variant(method));
        let first_loan = capabilities(&method.parameters).count();
        let grants = first_loan + loans(&method.parameters).count();
        let lent = loans(&method.parameters).enumerate().map(|(index, (_, writable))| {
            let index = first_loan + index;
            match writable {
                true => quote! { incoming.lent_mut(#index)?; },
                false => quote! { incoming.lent(#index)?; },
            }
        });
        let names: Vec<_> = inline(&method.parameters).map(|(name, _)| name).collect();
        let kinds = inline(&method.parameters).map(|(_, kind)| kind);
        quote! {
            #label if incoming.grant_count() == #grants => {
                #(#lent)*
                let (#(#names,)*): (#(#kinds,)*) = ::phi_idl::support::decode(incoming.bytes())?;
                #requests::#variant { #(#names),* }
            }
        }
    });
    quote! {
        #[doc = #documentation]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #visibility enum #requests { #(#variants),* }

        impl #requests {
            /// The request in a call; `None` for what is not understood. What was lent stays in the
            /// message: the first loan at 0, behind the capabilities that were given.
            pub fn of(incoming: &::phi_idl::support::Incoming) -> ::core::option::Option<Self> {
                ::core::option::Option::Some(match incoming.label() {
                    #(#arms)*
                    _ => return ::core::option::Option::None,
                })
            }
        }
    }
}

/// A method's name as that of a case.
fn variant(method: &Method) -> proc_macro2::Ident {
    let words = method.name.to_string();
    let words = words.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    format_ident!("{}", words.collect::<String>())
}

fn inline(
    parameters: &[Parameter],
) -> impl Iterator<Item = (&proc_macro2::Ident, &syn::Type)> + Clone {
    parameters.iter().filter_map(|parameter| match &parameter.role {
        Role::Inline(kind) => Some((&parameter.name, &**kind)),
        _ => None,
    })
}

fn capabilities(parameters: &[Parameter]) -> impl Iterator<Item = &proc_macro2::Ident> {
    parameters
        .iter()
        .filter(|parameter| matches!(parameter.role, Role::Capability))
        .map(|parameter| &parameter.name)
}

/// The loans, and whether they are for writing.
fn loans(parameters: &[Parameter]) -> impl Iterator<Item = (&proc_macro2::Ident, bool)> {
    parameters.iter().filter_map(|parameter| match parameter.role {
        Role::Lent => Some((&parameter.name, false)),
        Role::LentMut => Some((&parameter.name, true)),
        _ => None,
    })
}
